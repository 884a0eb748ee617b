"""Random histories of one group: clients, dials, checks, reloads and what is set by hand, against a few rules.

Each history is made from a seed. One that fails is shown as the steps that were taken.
"""

from __future__ import annotations

import gc
from random import Random
from weakref import ref

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from smartproxy.errors import DialFailed, Refused
from smartproxy.flow.deadline import Deadlines
from smartproxy.metrics.counters import Counters
from smartproxy.model.plan import Algorithm, BalancingPlan, GroupPlan, PassiveHealthPlan, TargetPlan, Timeouts
from smartproxy.model.plan.group import QueuePlan
from smartproxy.testing import connection
from smartproxy.upstream.member import Dials
from smartproxy.upstream.pool import Pool, PooledAttempts
from smartproxy.upstream.steering import TargetGroups
from tests.phases.made import routed
from tests.upstream.connecting import ConnectCase

NAMES = {"n1": ("10.0.1.1", "10.0.1.2"), "n2": ("10.0.2.1",), "n3": ("10.0.3.1", "10.0.3.2", "10.0.3.3")}
HOSTS = ("n1.test", "n2.test", "n3.test", "192.0.2.1", "192.0.2.2")
ADDRESSES = (*(address for known in NAMES.values() for address in known), *HOSTS[3:])
STEPS = {
    "connect": 8, "accept": 4, "fail": 3, "behave": 2, "leave": 2, "close": 4, "answer_badly": 1,
    "wait": 4, "reload": 1, "check": 2, "set_by_hand": 2, "remove": 0.3,
}  # fmt: skip


class Dialer:
    """Its attempts end when the test ends them, or at their timeouts; ``behaviour`` of an address ends them at once."""

    connects_at_once = True

    def __init__(self, clock):
        self.clock, self.pending, self.behaviour = clock, [], {}

    def dial(self, to, factory, timeout, source=""):
        behaviour = self.behaviour.get(to.host)
        if behaviour == "refuse":
            factory.clientConnectionFailed(None, Failure(error.ConnectionRefusedError()))
            return None
        dial = Dial(self, factory, timeout)
        if behaviour == "accept":
            dial.accept()
            return None
        return dial


class Dial:
    def __init__(self, dialer, factory, timeout):
        self.dialer, self.factory = dialer, factory
        dialer.pending.append(self)
        self.timer = dialer.clock.callLater(timeout, self.fail, error.TimeoutError())

    def stopConnecting(self):
        self.dialer.pending.remove(self)
        if self.timer.active():
            self.timer.cancel()

    def accept(self):
        self.stopConnecting()
        transport, _ = connection(self.dialer.clock)
        transport.carry(self.factory.buildProtocol(None))

    def fail(self, why):
        self.stopConnecting()
        self.factory.clientConnectionFailed(None, Failure(why))


class RandomHistories(ConnectCase):
    def begin(self, seed):
        self.random, self.taken = Random(seed), []
        self.clock = Clock()
        self.dialer, self.counters = Dialer(self.clock), Counters()
        self.create(**NAMES)
        self.pool = Pool(Deadlines(self.clock))
        if seed % 2:
            self.connect._attempt = PooledAttempts(self.connect._attempt, self.pool)
        self.steering = TargetGroups(self.groups, {}, self.clock.seconds, dict)
        self.clients, self.connected, self.unexpected, self.made = {}, [], [], []
        self.reload()

    def any(self, choices):
        return self.random.choice(list(choices) or [None])

    def maybe(self, share):
        return self.random.random() < share

    # Steps

    def reload(self):
        some = [host for host in HOSTS if self.maybe(0.6)] or HOSTS[:1]
        targets = tuple(
            TargetPlan(
                (host,), 80, name=host, max_connections=self.any((0, 0, 1, 2)), backup=self.maybe(0.15),
                weight=self.any((1, 1, 1, 3, 0)),
            )
            for host in some
        )  # fmt: skip
        passive = self.any(
            (PassiveHealthPlan(), PassiveHealthPlan(2), PassiveHealthPlan(eject_for=2.0), None)
        )
        queue = self.any((None, QueuePlan(4, 3.0)))
        balancing = BalancingPlan(self.any(Algorithm), self.any((0.0, 5.0)))
        self.plan = GroupPlan("web", targets, balancing, passive=passive, queue=queue)
        self.groups.apply({"web": self.plan})
        self.made.append(ref(self.groups.find("web")))

    def remove(self):
        self.groups.apply({})

    def start(self):
        facts = routed(group=self.plan, timeouts=Timeouts(connection=self.any((1.5, 4.0, 30.0))))
        connecting = Deferred.fromCoroutine(self.connect(facts))
        self.clients[connecting] = None

        def ended(result):
            del self.clients[connecting]
            if not isinstance(result, Failure):
                self.connected.append(result)
            elif result.check(DialFailed, Refused, CancelledError) is None:
                self.unexpected.append(result.getTraceback())

        connecting.addBoth(ended)

    def take_step(self, step):  # noqa: C901, PLR0912 - one branch for each step
        dial, client, member = self.any(self.dialer.pending), self.any(self.clients), None
        connected, group = self.any(self.connected), self.groups.find("web")
        if group is not None:
            member = self.any(group.candidates).member
        match step:
            case "connect":
                self.start()
            case "accept" if dial:
                dial.accept()
            case "fail" if dial:
                dial.fail(self.any((error.ConnectionRefusedError(), error.NoRouteError())))
            case "behave":
                self.dialer.behaviour[self.any(ADDRESSES)] = self.any((None, "refuse", "accept"))
            case "leave" if client:
                client.cancel()
            case "close" if connected:
                self.close(connected, keep=self.maybe(0.5))
            case "answer_badly" if connected:
                connected.answered_badly("it is no HTTP")
            case "wait":
                self.wait(self.any((1, 1, 2, 5, 12)))
            case "reload":
                self.reload()
            case "remove":
                self.remove()
            case "check" if member:
                member.check(passed=self.maybe(0.6), now=self.clock.seconds())
            case "set_by_hand" if member:
                self.steering.set_state("web", member.name, self.any(("up", "up", "drain", "down")))
        self.clock.advance(0.03)

    def close(self, connected, *, keep):
        self.connected.remove(connected)
        connected.release(1, 2)
        if keep:
            self.pool.put(connected, 5.0, 3)
        else:
            connected.close()

    def wait(self, seconds):
        for _ in range(seconds):
            self.clock.advance(1)
            self.groups.pending.sweep()
            self.groups.members.prune(self.clock.seconds())

    # Rules

    def check_rules(self):
        self.assertEqual(self.unexpected, [])
        group = self.groups.find("web")
        queued = group or self.groups._removed.get("web")
        dialed = len(self.clients) - (0 if queued is None else queued.waiting)
        active = sum(member.active for member in self.groups.members)
        self.assertEqual(active, len(self.connected) + dialed, "each connection counts once")
        for member in self.groups.members:
            if member.active == sum(one.member is member for one in self.connected):
                self.assertIsNot(member.dials, Dials.PROBING, f"{member.name}: nobody probes it")
                self.assertFalse(member.hesitant, f"{member.name}: no dial is pending")
        for one in () if group is None else group.candidates:
            self.assertIs(one.standing, one.judge(), one.name)
            self.assertEqual(one.inside, one.has_room and group.uses(one), one.name)
            self.assertFalse(one.inside and group.waiting, f"{one.name} has room, and clients wait")
            self.assertFalse(one.inside and (not one.weight or one.member.by_hand), one.name)
            if self.plan.passive is None:
                self.assertIs(one.member.dials, Dials.HEALTHY, one.name)

    def end(self):
        """All leave, and nothing is left."""
        for client in list(self.clients):
            client.cancel()
        self.check_rules()
        self.assertEqual(self.dialer.pending, [])
        for connected in list(self.connected):
            self.close(connected, keep=False)
        self.check_rules()
        self.remove()
        self.pool.close()
        self.wait(30)
        self.assertEqual((list(self.groups.members), self.clock.getDelayedCalls()), ([], []))

    def test_histories(self):
        for seed in range(60):
            self.begin(seed)
            with self.subTest(seed=seed):
                for step in self.random.choices(list(STEPS), list(STEPS.values()), k=80):
                    self.taken.append(step)
                    self.take_step(step)
                    self.check_rules()
                self.end()
        gc.collect()
        self.begin(0)
        self.end()
        self.connect = None
        gc.collect()
        self.assertEqual([group for made in self.made if (group := made()) is not None], [])
