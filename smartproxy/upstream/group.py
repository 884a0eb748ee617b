"""A group of targets: who gets the next connection, and what a dial's outcome changes.

::

    candidate = group.take(client, tried)        None: every target is at its limit, see wait_for_room
    group.succeeded(candidate)                   or failed(candidate, result), or withdrawn(candidate)
    group.release(candidate)                     when the connection has ended

A group is kept by its name and outlives reloads: they give it other candidates (:meth:`Group.configure`), which point at
the same members. Its candidates are in use by tier::

    PRIMARY        those that are up
    BACKUP         the backups that are up, while no primary one is
    LAST_RESORT    all, where none is up: a wrong check must not stop what may work. Not those that an operator excluded

A balancer chooses among those of the tier in use that are below their limits. An ejected member whose time is over gets
one connection in between, and its outcome decides.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from enum import IntEnum
from typing import TYPE_CHECKING

from twisted.logger import Logger

from smartproxy.errors import Refused
from smartproxy.model.outcome import RejectReason
from smartproxy.model.plan.group import Algorithm, GroupPlan
from smartproxy.upstream.balancing.first import First
from smartproxy.upstream.balancing.least_connections import LeastConnections
from smartproxy.upstream.balancing.random_two import RandomTwo
from smartproxy.upstream.balancing.round_robin import RoundRobin
from smartproxy.upstream.balancing.source import SourceHash
from smartproxy.upstream.candidate import Candidate, Standing, member_name
from smartproxy.upstream.member import Dials
from smartproxy.upstream.waiting import WaitingClients

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from smartproxy.upstream.interfaces import IBalancer
    from smartproxy.upstream.member import DialResult, Member, Members

log = Logger()
_EJECTED = Dials.EJECTED
#: Seconds that stand for no limit: nothing searches for as long.
_NO_LIMIT = 3600.0


class Tier(IntEnum):
    """Which candidates get connections."""

    PRIMARY = 0
    BACKUP = 1
    LAST_RESORT = 2
    NONE = 3


class Group:
    """The targets of one group.

    :param clock: monotonic.
    :param random: returns numbers from 0 to 1.
    :ivar notify: called with a candidate whose state has changed.
    :ivar candidates: in the order of the configuration.
    :ivar tier: the one in use.
    """

    def __init__(self, name: str, members: Members, clock: IReactorTime, random: Callable[[], float]) -> None:
        self.name = name
        self.notify: Callable[[Group, Candidate], None] = ignore
        self.candidates: list[Candidate] = []
        self.tier = Tier.NONE
        self._plan = GroupPlan(name)
        self._members = members
        self._clock = clock
        self._seconds = clock.seconds
        self._random = random
        self._algorithm: Algorithm | None = None
        self._balancer: IBalancer = RoundRobin()
        self._by_member: dict[Member, Candidate] = {}
        self._probed: OrderedDict[Candidate, None] = OrderedDict()
        self._standings: Counter[tuple[Standing, bool]] = Counter()
        self._waiting = WaitingClients(clock)
        #: Targets that were removed while they had connections.
        self._removed: dict[Member, Candidate] = {}

    @property
    def draining(self) -> list[Candidate]:
        """The targets that are not in the group any more, and still have connections."""
        self._removed = {member: one for member, one in self._removed.items() if member.active}
        return list(self._removed.values())

    @property
    def waiting(self) -> int:
        """Number of clients in the queue."""
        return len(self._waiting)

    @property
    def resets_when_down(self) -> bool:
        """Whether the sessions of a target that a check finds down are ended."""
        return self._plan.reset_when_down

    def configure(self, plan: GroupPlan) -> None:
        """Use the targets and terms of ``plan``. Members that stay keep their state; turns go on."""
        joining = bool(self.candidates)
        known = {candidate.member for candidate in self.candidates}
        self._removed |= {candidate.member: candidate for candidate in self.candidates}
        self._plan = plan
        self.candidates = self._made_candidates(plan, known if joining else None)
        self._by_member = {candidate.member: candidate for candidate in self.candidates}
        self._removed = {
            member: one
            for member, one in self._removed.items()
            if member.active and member not in self._by_member
        }
        self._members.keep(self.name, {candidate.name for candidate in self.candidates}, self._seconds())
        if plan.balancing.algorithm is not self._algorithm:
            self._algorithm = plan.balancing.algorithm
            self._balancer = self._made_balancer()
        self._begin()
        if plan.passive is None:
            for candidate in self.candidates:
                candidate.member.readmit(self._seconds())

    def uses(self, candidate: Candidate) -> bool:
        """Whether ``candidate`` is of the tier in use, so that it gets connections while it has room."""
        if self.tier is Tier.LAST_RESORT:
            return candidate.standing is Standing.DOWN
        return candidate.standing is Standing.UP and candidate.target.backup is (self.tier is Tier.BACKUP)

    def take(self, client: str, tried: Collection[Candidate] = ()) -> Candidate | None:
        """Assign the next connection. It counts for the candidate until it fails, is withdrawn or released.

        :param client: the client's address.
        :param tried: candidates that have failed for this connection.
        :return: ``None`` where every target is at its limit, or none is known yet, or clients are waiting already, or all
            were tried.
        :raises Refused: where no target may be used at all.
        """
        if self._waiting and not tried:
            return None
        candidate = self._due_probe(client, tried) if self._probed else None
        if candidate is None:
            candidate = self._balancer.choose(client, tried)
            if candidate is None:
                if self.tier is Tier.NONE and not self._plan.is_searching:
                    raise Refused(RejectReason.NO_TARGET, self._no_target())
                return None
        self._count(candidate)
        return candidate

    def wait_for_room(self, client: str, seconds: float = 0.0) -> Deferred[Candidate]:
        """Queue a client while every target is at its limit, or none is known yet.

        Cancelling it removes the client from the queue.

        :param seconds: the longest wait for the first targets; 0 is no limit.
        :raises Refused: where there is no queue, or it is full; the Deferred fails with it after the queue's timeout.
        """
        if self.tier is Tier.NONE and self._plan.is_searching:
            return self._waiting.await_targets(client, seconds or _NO_LIMIT, self.name)
        queue = self._plan.queue
        if queue is None:
            raise Refused(RejectReason.TARGET_LIMIT, f"every target of {self.name} is at its limit")
        return self._waiting.add(queue, client, self.name)

    def succeeded(self, candidate: Candidate) -> None:
        """The dial of ``candidate`` has succeeded."""
        member = candidate.member
        if member.succeeded(self._seconds()):
            log.info(
                "target {group}/{target} is up again: a connection has succeeded",
                group=self.name,
                target=member.name,
            )

    def failed(self, candidate: Candidate, result: DialResult, why: str, *, blameless: bool = False) -> None:
        """The dial of ``candidate`` has failed.

        :param why: for the log, one line of ASCII.
        :param blameless: whether that says nothing about the target: its outcome was not waited for, or this process had
            no resources for it.
        """
        passive = self._plan.passive
        member = candidate.member
        if member.failed(result, passive, self._seconds(), blameless=blameless) and passive is not None:
            log.warn(
                "target {group}/{target} is ejected for {seconds:g} s: {why}",
                group=self.name, target=member.name, seconds=passive.eject_for, why=why,
            )  # fmt: skip
        self.release(candidate)

    def withdrawn(self, candidate: Candidate) -> None:
        """The client of a dial has disconnected before there was a result."""
        candidate.member.withdraw(self._seconds())
        self.release(candidate)

    def hesitates(self, candidate: Candidate) -> bool:
        """A dial of ``candidate`` is not answered. Returns whether others take its place until it has ended."""
        others = self._standings[Standing.UP, False] + self._standings[Standing.UP, True]
        present = self._by_member.get(candidate.member)
        if present is None or self._plan.passive is None:
            return False
        if present.standing is Standing.UP and others > 1:
            candidate.member.hesitate(hesitant=True)
        return candidate.member.hesitant

    def release(self, candidate: Candidate) -> None:
        """A connection of ``candidate`` has ended. It may be one of a former configuration."""
        member = candidate.member
        member.active -= 1
        present = self._by_member.get(member)
        if present is None:
            return
        if present.inside:
            self._balancer.changed(present)
        elif present.limit:
            self._place(present)
        self._serve_waiting()

    def _no_target(self) -> str:
        return f"no target of {self.name} {'may be used' if self.candidates else 'was found'}"

    def end(self) -> None:
        """It is not configured any more. Its connections go on."""
        self._waiting.refuse_all(f"group {self.name} was removed")
        self._members.keep(self.name, (), self._seconds())

    def _made_candidates(self, plan: GroupPlan, known: Collection[Member] | None) -> list[Candidate]:
        candidates: dict[str, Candidate] = {}
        for target in plan.fixed():
            for host in target.hosts if isinstance(target.hosts, tuple) else (target.hosts,):
                name = member_name(target, host, candidates)
                member = self._members.of(self.name, name)
                if known is not None and member not in known:
                    member.joined(self._seconds())
                member.on_change = self._changed
                slow_start = plan.balancing.slow_start
                candidates[name] = Candidate(target, host, member, len(candidates), slow_start, self._seconds)
        return list(candidates.values())

    def _made_balancer(self) -> IBalancer:
        match self._algorithm:
            case Algorithm.LEAST_CONNECTIONS:
                return LeastConnections()
            case Algorithm.RANDOM:
                return RandomTwo(self._random)
            case Algorithm.SOURCE:
                return SourceHash()
            case Algorithm.FIRST:
                return First()
            case _:
                return RoundRobin()

    def _begin(self) -> None:
        """Tell the balancer of the candidates anew."""
        self._standings.clear()
        self._probed.clear()
        for candidate in self.candidates:
            candidate.refresh()
            candidate.inside = candidate.queued = False
            candidate.standing = candidate.judge()
            self._standings[candidate.standing, candidate.target.backup] += 1
            self._note_ejection(candidate)
        self._balancer.begin(self.candidates)
        self.tier = self._best_tier()
        for candidate in self.candidates:
            self._place(candidate)
        self._serve_waiting()

    def _best_tier(self) -> Tier:
        if self._standings[Standing.UP, False]:
            return Tier.PRIMARY
        if self._standings[Standing.UP, True]:
            return Tier.BACKUP
        down = self._standings[Standing.DOWN, False] + self._standings[Standing.DOWN, True]
        return Tier.LAST_RESORT if down else Tier.NONE

    def _place(self, candidate: Candidate) -> None:
        """Let the balancer choose ``candidate``, or not."""
        inside = candidate.has_room and self.uses(candidate)
        if inside is candidate.inside:
            return
        candidate.inside = inside
        if inside:
            candidate.refresh()
            self._balancer.enter(candidate)
        else:
            self._balancer.leave(candidate)

    def _changed(self, member: Member) -> None:
        """The health of a member has changed, or what was set by hand."""
        candidate = self._by_member[member]
        if member.state != candidate.state:
            candidate.state = member.state
            self.notify(self, candidate)
        former, weight = candidate.standing, candidate.weight
        candidate.refresh()
        candidate.standing = candidate.judge()
        self._standings[former, candidate.target.backup] -= 1
        self._standings[candidate.standing, candidate.target.backup] += 1
        if candidate.weight != weight or self._best_tier() is not self.tier:
            self._begin()
            return
        self._note_ejection(candidate)
        self._place(candidate)
        self._serve_waiting()

    def _note_ejection(self, candidate: Candidate) -> None:
        """Keep those that wait for a probe, in the order in which they may be tried."""
        member = candidate.member
        self._probed.pop(candidate, None)
        if member.dials is _EJECTED and member.passed and member.by_hand is None and candidate.weight:
            self._probed[candidate] = None
            if member.probe_at <= self._seconds():  # the client of its probe has left
                self._probed.move_to_end(candidate, last=False)

    def _due_probe(self, client: str, tried: Collection[Candidate]) -> Candidate | None:
        """An ejected candidate that one connection may try now."""
        now = self._seconds()
        for candidate in self._probed:
            if candidate.member.probe_at > now:
                return None
            if self._may_probe(candidate, client) and candidate not in tried:
                candidate.member.probe(now)
                return candidate
        return None

    def _may_probe(self, candidate: Candidate, client: str) -> bool:
        if not candidate.has_room or (candidate.target.backup and self.tier is Tier.PRIMARY):
            return False
        # Another client would lose its own target by it.
        return not isinstance(self._balancer, SourceHash) or self._balancer.owner(client) is candidate

    def _count(self, candidate: Candidate) -> None:
        candidate.member.active += 1
        if candidate.limit and candidate.member.active >= candidate.limit:
            self._place(candidate)
        if candidate.inside:
            self._balancer.changed(candidate)

    def _serve_waiting(self) -> None:
        """Assign what has become free to those who wait, first in, first out."""
        if self._waiting and self.tier is Tier.NONE:
            if self._plan.is_searching:
                return
            self._waiting.refuse_all(self._no_target())
        while self._waiting:
            candidate = self._balancer.choose(self._waiting.client, ())
            if candidate is None:
                return
            self._count(candidate)
            self._waiting.serve(candidate)


def ignore(_group: Group, _candidate: Candidate) -> None:
    """The value of ``notify`` while no one follows changes of state."""
