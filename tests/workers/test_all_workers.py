"""What the admin listener of a supervisor reads and changes of all workers."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.admin.control import IProxyControl
from smartproxy.errors import NoWorker, UnknownTarget
from smartproxy.workers.all_workers import AllWorkers
from smartproxy.workers.supervisor import Supervisor
from tests.sessions.memory_proxy import route
from tests.workers.carried import exchange
from tests.workers.several import Several, values

TARGET = "10.0.0.1:9000"
#: What only the supervisor knows.
OF_SUPERVISOR = {
    "draining", "serving", "plan", "status", "workers", "reload", "replace_routes", "waiting_for_restart", "drain",
}  # fmt: skip


class AllWorkersCase(SynchronousTestCase):
    def setUp(self):
        self.workers = Several(self, 2)
        self.all = self.workers.all
        self.one, self.two = self.workers.proxies.values()

    def asked(self, question):
        return [generations for asked, generations in self.workers.asked if asked == question]


class InterfaceTests(SynchronousTestCase):
    def test_it_has_what_is_about_connections(self):
        missing = {name for name in IProxyControl if not hasattr(AllWorkers, name)}
        self.assertEqual(missing, OF_SUPERVISOR)
        for name in {*IProxyControl} - OF_SUPERVISOR - {"throughput"}:
            wanted = IProxyControl[name].getSignatureInfo()["positional"]
            given = list(inspect.signature(getattr(AllWorkers, name)).parameters)
            self.assertEqual(given, ["self", *wanted])


class ConnectionTests(AllWorkersCase):
    def setUp(self):
        super().setUp()
        for proxy in (self.one, self.two, self.one, self.two):
            proxy.client()
            for each in (self.one, self.two):
                each.pass_time(1)

    def ids(self, limit=10, route=None, client=None):
        live = self.successResultOf(self.all.live(route, client, limit))
        return [one["id"] for one in live.shown], live.total

    def test_connections_of_all_workers_are_shown_oldest_first(self):
        first, second = 10**11, 2 * 10**11
        self.assertEqual(self.ids(), ([first, second, first + 1, second + 1], 4))

    def test_the_limit_is_that_of_all_workers(self):
        shown, total = self.ids(limit=3)
        self.assertEqual((len(shown), total), (3, 4))
        self.assertEqual(self.ids(limit=0), ([], 4))

    def test_filters_are_applied_by_the_workers(self):
        self.one.client("192.0.2.9")
        self.assertEqual(self.ids(client="192.0.2.9"), ([10**11 + 2], 1))
        self.assertEqual(self.ids(route="none"), ([], 0))

    def test_a_connection_is_ended_in_its_worker(self):
        self.assertTrue(self.successResultOf(self.all.end_connection(2 * 10**11)))
        self.two.settle()
        self.assertEqual((len(self.one.service.connections), len(self.two.service.connections)), (2, 1))
        self.assertFalse(self.successResultOf(self.all.end_connection(2 * 10**11)))

    def test_the_last_connection_of_a_worker_that_drains_is_ended(self):
        """It exits at once, before the others have answered: the connection was there all the same."""
        number = 2 * 10**11
        self.workers.held = []
        ending = self.all.end_connection(number)
        ((waiting, answers),) = self.workers.held
        self.all.retire(2, killed=False)
        waiting.callback(answers)
        self.assertTrue(self.successResultOf(ending))

    def test_status_has_the_sums(self):
        self.assertEqual(self.successResultOf(self.all.status_sums()), {"connections": 4, "lingering": 0})


class TargetTests(AllWorkersCase):
    def set(self, **changes):
        return self.all.set_target("web", TARGET, changes)

    def test_targets_are_those_of_all_workers(self):
        for proxy in (self.one, self.two):
            exchange(proxy)
        (shown,) = self.successResultOf(self.all.targets("web"))
        self.assertEqual((shown.connections, shown.received, shown.sent), (2, 6, 12))

    def test_bytes_of_a_killed_worker_stay_with_the_target(self):
        for proxy in (self.one, self.two):
            exchange(proxy)
        self.workers.reading()
        self.workers.kill(1)
        (shown,) = self.successResultOf(self.all.targets(None))
        self.assertEqual((shown.connections, shown.received), (1, 6))

    def test_state_and_weight_are_set_in_every_worker(self):
        shown = self.successResultOf(self.set(state="drain", weight=7))
        self.assertEqual((shown.state, shown.weight, shown.set_by_hand), ("drain", 7, True))
        for proxy in (self.one, self.two):
            (target,) = proxy.service.groups.targets("web")
            self.assertEqual((target.state, target.weight), ("drain", 7))

    def test_what_was_set_is_kept_for_new_workers(self):
        self.set(state="drain")
        self.set(weight=7)
        wanted = {"group": "web", "name": TARGET, "changes": {"state": "drain", "weight": 7}}
        self.assertEqual(self.all.set_by_hand(), [wanted])
        proxy = self.workers.begin(3)
        self.has_begun(3)
        self.assertEqual([counts.up for counts in proxy.service.groups.target_counts()], [False])
        self.assertEqual(self.states(proxy), [("drain", 7)])
        self.set(state="up")
        self.assertEqual(self.all.set_by_hand()[0]["changes"], {"weight": 7})
        self.set(weight=None)
        self.assertEqual(self.all.set_by_hand(), [])

    def test_what_was_refused_is_not_kept(self):
        self.failureResultOf(self.set(state="dwon"), ValueError)
        self.failureResultOf(self.all.set_target("web", "none", {"weight": 1}), UnknownTarget)
        self.assertEqual(self.all.set_by_hand(), [])

    def find_another(self, proxy):
        """One worker finds a second target."""
        hosts = {"targets": [{"host": host, "port": 9000} for host in ("10.0.0.1", "10.0.0.2")]}
        changed = proxy.service.update_routes([route("web", action=hosts)])
        proxy.settle()
        self.successResultOf(changed)

    def states(self, proxy):
        return [(target.state, target.weight) for target in proxy.service.groups.targets("web")]

    def test_a_target_that_one_worker_knows_is_set_there_and_later_in_the_others(self):
        """Each worker asks the DNS by itself, so one of them is the first that knows a target."""
        self.find_another(self.two)
        for changes in ({"state": "drain"}, {"weight": 7}):
            self.successResultOf(self.all.set_target("web", "10.0.0.2:9000", changes))
        self.assertEqual(self.states(self.two), [("up", 1), ("drain", 7)])
        self.find_another(self.one)
        self.assertEqual(self.states(self.one), [("up", 1), ("drain", 7)])

    def test_what_is_undone_before_a_worker_knows_the_target_is_not_set_there(self):
        self.find_another(self.two)
        for state in ("drain", "up"):
            self.successResultOf(self.all.set_target("web", "10.0.0.2:9000", {"state": state}))
        self.find_another(self.one)
        self.assertEqual(self.states(self.one), [("up", 1), ("up", 1)])

    def test_a_new_worker_holds_what_was_set_of_a_target_that_it_finds_later(self):
        """It has begun before the DNS has answered it."""
        self.find_another(self.two)
        self.successResultOf(self.all.set_target("web", "10.0.0.2:9000", {"state": "down"}))
        self.set(weight=3)
        proxy = self.workers.begin(3)
        self.has_begun(3)
        self.assertEqual(self.states(proxy), [("up", 3)])
        self.find_another(proxy)
        self.assertEqual(self.states(proxy), [("up", 3), ("down", 1)])

    def has_begun(self, generation):
        """The supervisor notices that a worker serves."""

        async def ask(question, arguments):
            return self.workers.answer(generation, question, arguments)

        supervisor = SimpleNamespace(_control=self.all, draining=False)
        noticed = Supervisor._worker_begun(supervisor, SimpleNamespace(ask=ask))
        self.successResultOf(Deferred.fromCoroutine(noticed))

    def test_an_unknown_group_is_refused_as_by_one_proxy(self):
        for asking in (self.all.targets("none"), self.all.peek("none", None)):
            raised = self.failureResultOf(asking, UnknownTarget)
            self.assertEqual(str(raised.value), "there is no group 'none'; there is web")

    def test_the_next_target_is_that_of_the_first_worker(self):
        self.assertEqual(self.successResultOf(self.all.peek("web", "192.0.2.1")).targets, [TARGET])
        self.assertEqual(self.asked("peek"), [[1]])


class DrainingTests(AllWorkersCase):
    """A worker that drains after SIGUSR2 carries its connections, for hours perhaps, and gets no other."""

    def setUp(self):
        super().setUp()
        for proxy in (self.one, self.two):
            exchange(proxy)
        self.workers.draining.add(1)

    def shown(self):
        return self.successResultOf(self.all.targets(None))

    def up(self):
        return {name: up for (_, name, up, *_) in self.workers.reading().counters.targets.target_counts()}

    def test_the_state_of_a_target_is_that_in_the_workers_that_serve(self):
        self.two.service.groups.set_state("web", TARGET, "down")
        (shown,) = self.shown()
        self.assertEqual((shown.state, shown.effective_weight, shown.connections), ("down", 0, 2))
        self.assertEqual(self.up(), {TARGET: False})
        self.workers.draining.add(2)  # the whole proxy does
        self.assertEqual(self.shown()[0].state, "up")

    def test_a_target_that_is_not_used_yet_is_up(self):
        self.workers.kill(2)
        self.workers.begin(3)
        self.workers.reading()
        self.assertEqual(self.up(), {TARGET: True})

    def test_a_target_that_was_removed_meanwhile_drains(self):
        self.two.service.update_routes([route(hosts="10.0.0.2")])
        self.two.pass_time(60)
        new, removed = self.shown()
        self.assertEqual((new.name, new.state), ("10.0.0.2:9000", "up"))
        self.assertEqual((removed.state, removed.effective_weight, removed.connections), ("drain", 0, 2))
        self.patch(self.all, "_plan", lambda: self.two.service.plan)
        self.assertEqual(self.up()[TARGET], False)

    def test_a_target_that_was_removed_meanwhile_cannot_be_set(self):
        self.two.service.update_routes([route(hosts="10.0.0.2")])
        self.failureResultOf(self.all.set_target("web", TARGET, {"state": "up"}), UnknownTarget)
        self.failureResultOf(self.all.set_target("web", "none", {"state": "up"}), UnknownTarget)


class NoWorkerTests(SynchronousTestCase):
    def setUp(self):
        self.workers = Several(self, 1)
        exchange(self.workers.first)
        self.plan = self.workers.first.service.plan
        self.patch(self.workers.all, "_plan", lambda: self.plan)
        self.workers.reading()

    def test_questions_without_an_answer_fail(self):
        self.workers.proxies.clear()
        every = self.workers.all
        for asking in (
            every.live(None, None, 1), every.end_connection(1), every.targets(None), every.peek("web", None),
            every.set_target("web", TARGET, {"weight": 1}), every.certificates(), every.renew_certificate("a.test"),
        ):  # fmt: skip
            self.failureResultOf(asking, NoWorker)

    def test_counts_are_shown_without_any_worker(self):
        """A scrape must not fail, nor show a reset, because all workers are just being replaced."""
        self.workers.kill(1)
        reading = self.workers.reading()
        self.assertEqual(reading.metrics.totals(), (3, 6, 1))
        self.assertEqual(reading.counters.routes["web"].closed, {"error": 1})
        (counted,) = reading.counters.targets.target_counts()
        self.assertEqual((counted.received, counted.sent, counted.active), (3, 6, 0))
        self.assertEqual(
            self.successResultOf(self.workers.all.status_sums()), {"connections": 0, "lingering": 0}
        )
        self.workers.begin(2)
        shown = values(*self.workers.reading()[:2])
        self.assertEqual(shown["smartproxy_target_received_bytes", ("web", TARGET)], 3)


class ReadingTests(AllWorkersCase):
    def test_a_worker_that_does_not_answer_keeps_its_counts(self):
        for proxy in (self.one, self.two):
            exchange(proxy)
        self.workers.reading()
        silent = self.workers.proxies.pop(1)
        exchange(silent)
        self.assertEqual(self.workers.reading().metrics.totals().connections, 2)
        self.workers.proxies[1] = silent
        self.assertEqual(self.workers.reading().metrics.totals().connections, 3)

    def test_an_answer_of_a_worker_that_ended_meanwhile_is_not_used(self):
        """Its last snapshot is retired: it would count twice from then on."""
        exchange(self.one)
        self.workers.held = []
        reading = self.all.reading()
        last = self.workers.snapshot(1)
        del self.workers.proxies[1]
        self.all.retire(1, last, killed=True)
        ((waiting, answers),) = self.workers.held
        waiting.callback(answers)
        self.assertEqual(self.successResultOf(reading).metrics.totals().connections, 1)
        self.workers.held = None
        self.assertEqual(self.workers.reading().metrics.totals().connections, 1)

    def test_questions_at_the_same_time_do_not_disturb_each_other(self):
        """Each notes for itself which workers have ended since it was asked."""
        exchange(self.one)
        self.workers.held = []
        reading, targets = self.all.reading(), self.all.targets(None)
        (snapshots, listed), self.workers.held = self.workers.held, None
        listed[0].callback(listed[1])
        self.successResultOf(targets)
        last = self.workers.snapshot(1)
        del self.workers.proxies[1]
        self.all.retire(1, last, killed=True)
        snapshots[0].callback(snapshots[1])
        self.assertEqual(self.successResultOf(reading).metrics.totals().connections, 1)

    def test_readers_share_a_reading(self):
        self.workers.held = []
        readings = [self.all.reading() for _ in range(5)]
        self.assertEqual(len(self.workers.held), 1)
        held, self.workers.held = self.workers.held, None
        for waiting, answers in held:
            waiting.callback(answers)
        self.assertIs(self.successResultOf(readings[1]), self.successResultOf(readings[4]))
        self.assertEqual(len(self.asked("snapshot")), 2)

    def test_a_worker_retired_twice_counts_once(self):
        exchange(self.one)
        self.workers.reading()
        self.workers.kill(1)
        self.all.retire(1, killed=True)
        self.assertEqual(self.workers.reading().metrics.totals().connections, 1)

    def test_questions_that_fail_leave_nothing_behind(self):
        self.patch(self.all, "_ask", lambda *_: 1 / 0)
        self.failureResultOf(self.all.targets(None), ZeroDivisionError)
        self.assertEqual(self.all._retired_since, [])


class ThroughputTests(AllWorkersCase):
    def test_throughput_is_sampled_while_it_runs(self):
        self.all.start()
        for _ in range(3):
            exchange(self.one, received=b"1" * 100)
            exchange(self.two, received=b"1" * 200)
            self.workers.clock.advance(1)
        self.assertEqual(self.all.throughput.recent().in_, 300)
        self.assertEqual(self.workers.reading().metrics.throughput.recent().in_, 300)
        self.all.stop()
        self.assertEqual(self.workers.clock.getDelayedCalls(), [])

    def test_a_killed_worker_takes_nothing_back(self):
        self.all.start()
        exchange(self.one, received=b"1" * 100)
        self.workers.clock.advance(1)
        self.workers.kill(1)
        exchange(self.two, received=b"1" * 50)
        self.workers.clock.advance(1)
        self.assertEqual(self.all.throughput.instant().in_, 50)
        self.assertEqual(list(self.all._merged_throughput._last), [2])
        self.all.stop()

    def test_a_change_of_the_configuration_is_followed(self):
        self.all.start()
        self.patch(self.all, "_plan", lambda: SimpleNamespace(metrics=None))
        self.all.configure()
        self.workers.clock.advance(5)
        self.assertEqual(self.asked("totals"), [])
        self.assertEqual(self.all.throughput.history(60), [])
