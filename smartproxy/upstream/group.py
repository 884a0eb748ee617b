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

from collections import Counter
from typing import TYPE_CHECKING

from twisted.logger import Logger

from smartproxy.errors import Refused
from smartproxy.model.outcome import RejectReason
from smartproxy.model.plan.group import Algorithm, GroupPlan
from smartproxy.model.target_status import Upcoming
from smartproxy.upstream.balancing.first import First
from smartproxy.upstream.balancing.least_connections import LeastConnections
from smartproxy.upstream.balancing.random_two import RandomTwo
from smartproxy.upstream.balancing.round_robin import RoundRobin
from smartproxy.upstream.balancing.source import SourceHash
from smartproxy.upstream.candidate import Candidate, Standing, member_name
from smartproxy.upstream.member import Dials
from smartproxy.upstream.peek import would_choose
from smartproxy.upstream.probes import DueProbes
from smartproxy.upstream.state_log import log_differences
from smartproxy.upstream.tiers import Tier, log_tier
from smartproxy.upstream.waiting import WaitingClients

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from smartproxy.upstream.interfaces import IBalancer
    from smartproxy.upstream.member import DialResult, Member, Members

log = Logger()
_EJECTED = Dials.EJECTED


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
        self._flaps = members.flaps
        self._clock = clock
        self._seconds = clock.seconds
        self._random = random
        self._algorithm: Algorithm | None = None
        self._balancer: IBalancer = RoundRobin()
        self._by_member: dict[Member, Candidate] = {}
        self._probed = DueProbes()
        self._standings: Counter[tuple[Standing, bool]] = Counter()
        self._waiting = WaitingClients(clock)
        self._is_serving = False

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
        former, joining = self.candidates, bool(self.candidates)
        known = {candidate.member for candidate in former}
        self._plan = plan
        self.candidates = self._made_candidates(plan, known if joining else None)
        self._by_member = {candidate.member: candidate for candidate in self.candidates}
        self._members.keep(self.name, {candidate.name for candidate in self.candidates}, self._seconds())
        if plan.balancing.algorithm is not self._algorithm:
            self._algorithm = plan.balancing.algorithm
            self._balancer = self._made_balancer()
        if joining:
            log_differences(self.name, *(_weights(one) for one in (former, self.candidates)))
        self._begin(is_first=not joining)
        if plan.passive is None:
            self._readmit_all()

    def uses(self, candidate: Candidate) -> bool:
        """Whether ``candidate`` is of the tier in use, so that it gets connections while it has room."""
        if self.tier is Tier.LAST_RESORT:
            return candidate.standing is Standing.DOWN
        return candidate.standing is Standing.UP and candidate.target.backup is (self.tier is Tier.BACKUP)

    def take(self, client: str, tried: Collection[Candidate] = ()) -> Candidate | None:
        """Assign the next connection. It counts for the candidate until it fails, is withdrawn or released.

        :param client: the client's address.
        :param tried: candidates that have failed for this connection.
        :return: ``None`` where every target is at its limit, or clients are waiting already, or all were tried.
        :raises Refused: where no target may be used at all.
        """
        if self._waiting and not tried:
            return None
        candidate = self._due_probe(client, tried) if self._probed else None
        if candidate is None:
            candidate = self._balancer.choose(client, tried)
            if candidate is None:
                if self.tier is Tier.NONE:
                    raise Refused(RejectReason.NO_TARGET, self._no_target())
                return None
        self._count(candidate)
        return candidate

    def peek(self, client: str | None) -> Upcoming:
        """What the next connection would get, if it came now. Nothing is changed.

        :param client: the client's address; ``None`` is any client.
        """
        if not self._waiting:
            if (probe := self._next_probe(client, ())) is not None:
                return Upcoming("target", [probe.name])
            if names := would_choose(self._balancer, self.candidates, client):
                return Upcoming("target", names)
            if self.tier is Tier.NONE:
                return Upcoming("no_target", [])
        queue = self._plan.queue
        if queue is None:
            return Upcoming("target_limit", [])
        return Upcoming("queue" if self.waiting < queue.size else "queue_full", [])

    def wait_for_room(self, client: str) -> Deferred[Candidate]:
        """Queue a client while every target is at its limit. Cancelling it removes the client from the queue.

        :raises Refused: where there is no queue, or it is full; the Deferred fails with it after the queue's timeout.
        """
        queue = self._plan.queue
        if queue is None:
            raise Refused(
                RejectReason.TARGET_LIMIT,
                f"every target of group {self.name} is at its maxConnections, and it has no queue",
            )
        return self._waiting.add(queue, client, self.name)

    def succeeded(self, candidate: Candidate) -> None:
        """The dial of ``candidate`` has succeeded."""
        member = candidate.member
        if member.succeeded(self._seconds()) and self._may_log(member):
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
        was_up = member.dials is Dials.HEALTHY
        if member.dials is not _EJECTED and not blameless:
            member.ejected_by = why  # before: who is told of the ejection reads it
        is_ejected = member.failed(result, passive, self._seconds(), blameless=blameless)
        # A failed probe changes nothing: a dead target would have a line for each.
        if is_ejected and was_up and passive is not None and self._may_log(member):
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
        """Why no target may be used."""
        if not self.candidates:
            return f"group {self.name} has no target"
        return f"every target of group {self.name} is set to drain or down, or has the weight 0: smartproxy targets"

    def end(self) -> None:
        """It is not configured any more. Its connections go on, and those that were accepted before are still assigned."""
        self.notify = ignore
        self._waiting.refuse_all(f"group {self.name} was removed")
        self._members.keep(self.name, (), self._seconds())
        for candidate in self.candidates:
            candidate.member.on_change = self._changed

    def _readmit_all(self) -> None:
        """End every ejection: passive health is off."""
        for candidate in self.candidates:
            if candidate.member.dials is not Dials.HEALTHY:
                candidate.member.readmit(self._seconds())
                log.info(
                    "target {group}/{target} is up again: passiveHealth is off",
                    group=self.name,
                    target=candidate.name,
                )

    def _made_candidates(self, plan: GroupPlan, known: Collection[Member] | None) -> list[Candidate]:
        candidates: dict[str, Candidate] = {}
        for target in plan.targets:
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

    def _begin(self, *, is_first: bool = False) -> None:
        """Tell the balancer of the candidates anew.

        :param is_first: whether the group had none before, so that no tier was in use.
        """
        self._standings.clear()
        self._probed.clear()
        for candidate in self.candidates:
            candidate.refresh()
            candidate.inside = candidate.queued = False
            candidate.standing = candidate.judge()
            self._standings[candidate.standing, candidate.target.backup] += 1
            self._probed.note(candidate, self._seconds())
        self._balancer.begin(self.candidates)
        former, self.tier = self.tier, self._best_tier()
        if self.tier is not former and not is_first and len(self.candidates) > 1:
            log_tier(self._flaps, self.name, self.tier, self._seconds())
        for candidate in self.candidates:
            self._place(candidate)
        self._serve_waiting()

    def _may_log(self, member: Member) -> bool:
        return self._flaps.may_log(f"target {self.name}/{member.name}", member.state, self._seconds())

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
        self._probed.note(candidate, self._seconds())
        self._place(candidate)
        self._serve_waiting()

    def _due_probe(self, client: str, tried: Collection[Candidate]) -> Candidate | None:
        """An ejected candidate whose time is over, and which gets this connection."""
        candidate = self._next_probe(client, tried)
        if candidate is not None:
            candidate.member.probe(self._seconds())
        return candidate

    def _next_probe(self, client: str | None, tried: Collection[Candidate]) -> Candidate | None:
        return self._probed.due(self._seconds(), tried, lambda candidate: self._may_probe(candidate, client))

    def _may_probe(self, candidate: Candidate, client: str | None) -> bool:
        if not candidate.has_room or (candidate.target.backup and self.tier is Tier.PRIMARY):
            return False
        # Another client would lose its own target by it.
        balancer = self._balancer
        return not isinstance(balancer, SourceHash) or (
            client is not None and balancer.owner(client) is candidate
        )

    def _count(self, candidate: Candidate) -> None:
        candidate.member.active += 1
        if candidate.limit and candidate.member.active >= candidate.limit:
            self._place(candidate)
        if candidate.inside:
            self._balancer.changed(candidate)

    def _serve_waiting(self) -> None:
        """Assign what has become free to those who wait, first in, first out."""
        if not self._waiting:
            return
        if self.tier is Tier.NONE:
            self._waiting.refuse_all(self._no_target())
        if self._is_serving:
            return  # a dial has failed at once: the loop below goes on with what that has released
        self._is_serving = True
        try:
            while self._waiting:
                candidate = self._balancer.choose(self._waiting.client, ())
                if candidate is None:
                    return
                self._count(candidate)
                self._waiting.serve(candidate)
        finally:
            self._is_serving = False


def ignore(_group: Group, _candidate: Candidate) -> None:
    """The value of ``notify`` while no one follows changes of state."""


def _weights(candidates: Collection[Candidate]) -> dict[str, int]:
    """The weights in the configuration, by name."""
    return {candidate.name: candidate.target.weight for candidate in candidates}
