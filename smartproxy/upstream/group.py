"""A group of targets: who gets the next connection, and what a dial's outcome changes.

::

    candidate = group.take(client, tried)        None: every target is at its limit, see wait_for_room
    group.succeeded(candidate)                   or failed(candidate, result), or withdrawn(candidate)
    group.release(candidate)                     when the connection has ended

A group is kept by its name and outlives reloads: they give it other candidates (:meth:`Group.configure`), which point at
the same members. Its candidates are in use by tier (:mod:`~smartproxy.upstream.tiers`).

A balancer chooses among those of the tier in use that are below their limits. An ejected member whose time is over gets
one connection in between, and its outcome decides.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from math import inf
from typing import TYPE_CHECKING

from twisted.python.failure import Failure

from smartproxy.errors import Refused
from smartproxy.model.outcome import RejectReason
from smartproxy.model.plan.group import Algorithm, GroupPlan
from smartproxy.model.target_status import Upcoming
from smartproxy.upstream.balancing.made import WITHOUT_LOAD, made_balancer
from smartproxy.upstream.balancing.round_robin import RoundRobin
from smartproxy.upstream.balancing.source import SourceHash
from smartproxy.upstream.candidate import Candidate, Standing, made_candidates, written_weights
from smartproxy.upstream.crowded import CrowdedTargets, share_limits
from smartproxy.upstream.member import Dials
from smartproxy.upstream.peek import would_choose
from smartproxy.upstream.probes import DueProbes, readmit
from smartproxy.upstream.state_log import ignore, log_differences, log_ejected, log_up_again
from smartproxy.upstream.tiers import Tier, best_tier, log_tier, no_target
from smartproxy.upstream.waiting import WaitingClients

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from smartproxy.model.target_status import TargetState
    from smartproxy.upstream.group_requests import GroupRequests
    from smartproxy.upstream.interfaces import Balancer
    from smartproxy.upstream.member import DialResult, Member, Members


class Group:
    """The targets of one group.

    :param clock: monotonic.
    :param random: returns numbers from 0 to 1.
    :ivar notify: called with a candidate whose state has changed, and the state before.
    :ivar candidates: in the order of the configuration.
    :ivar tier: the one in use.
    :ivar requests: counts of its HTTP requests; ``None`` before the first.
    """

    def __init__(self, name: str, members: Members, clock: IReactorTime, random: Callable[[], float]) -> None:
        self.name = name
        self.notify: Callable[[Group, Candidate, TargetState], None] = ignore
        self.candidates: list[Candidate] = []
        self.tier = Tier.NONE
        self.requests: GroupRequests | None = None
        self._plan = GroupPlan(name)
        self._members = members
        self._flaps = members.flaps
        self._clock = clock
        self._seconds = clock.seconds
        self._random = random
        self._algorithm: Algorithm | Callable[[str], object] | None = None
        self._balancer: Balancer = RoundRobin()
        self._by_member: dict[Member, Candidate] = {}
        self._probed = DueProbes()
        self._standings: Counter[tuple[Standing, bool]] = Counter()
        self._waiting = WaitingClients(clock)
        self._queue = self._waiting.queue
        self._crowded = CrowdedTargets(clock, self._queue)
        self._follows_load = False
        self._is_serving = self._was_configured = False
        #: Whether the first answers for its targets are awaited: what they find does not join a group that is in use.
        self._is_starting = True
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
        former, joining = self.candidates, bool(self.candidates) and not self._is_starting
        known = {candidate.member for candidate in former}
        self._removed |= {candidate.member: candidate for candidate in former}
        self._plan, self._is_starting = plan, self._is_starting and plan.is_searching
        self.candidates = made_candidates(plan, partial(self._members.of, self.name), self._seconds)
        self._by_member = {candidate.member: candidate for candidate in self.candidates}
        for member in self._by_member:
            member.on_change = self._changed
            if joining and member not in known:
                member.joined(self._seconds())
        self._removed = {
            member: one
            for member, one in self._removed.items()
            if member.active and member not in self._by_member
        }
        self._members.keep(self.name, {candidate.name for candidate in self.candidates}, self._seconds())
        if plan.balancing.algorithm != self._algorithm:
            self._algorithm = plan.balancing.algorithm
            self._balancer = made_balancer(plan.balancing.algorithm, self.name, self._random)
            self._follows_load = not isinstance(self._balancer, WITHOUT_LOAD)
        if self._was_configured:
            log_differences(self.name, written_weights(former), written_weights(self.candidates))
        self._was_configured = True
        share_limits(self.candidates, self._members.shared)
        self._begin(is_first=not former)
        readmit(self.name, self.candidates, plan.passive, self._seconds())

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
        if self._queue and not tried:
            return None
        if self._crowded:
            self._crowded.look_again(self._place)
        candidate = self._due_probe(client, tried) if self._probed else None
        if candidate is None:
            candidate = self._balancer.choose(client, tried)
            if candidate is None:
                if self.tier is Tier.NONE and not self._plan.is_searching:
                    raise Refused(RejectReason.NO_TARGET, no_target(self.name, self.candidates))
                return None
            if not self._count(candidate):
                return self._choose(client, tried)
        return candidate

    def peek(self, client: str | None) -> Upcoming:
        """What the next connection of ``client`` would get, if it came now; ``None`` is any client. Nothing is changed."""
        if self.tier is Tier.NONE and self._plan.is_searching:
            return Upcoming("queue", [])
        if not self._queue:
            probe = self._next_probe(client, ())
            names = [probe.name] if probe else would_choose(self._balancer, self.candidates, client)
            if names or self.tier is Tier.NONE:
                return Upcoming("target" if names else "no_target", names)
        return self._waiting.upcoming(self._plan.queue)

    def wait_for_room(self, client: str, seconds: float = 0.0) -> Deferred[Candidate]:
        """Queue a client while every target is at its limit, or none is known yet; a cancel removes it.

        :param seconds: the longest wait for the first targets; 0 is no limit.
        :raises Refused: where there is no queue, or it is full; the Deferred fails with it after the queue's timeout.
        """
        if self.tier is Tier.NONE and self._plan.is_searching:
            return self._waiting.await_targets(client, seconds, self.name)
        assigned = self._waiting.add(self._plan.queue, client, self.name)
        self._watch_targets(-inf)
        return assigned

    def succeeded(self, candidate: Candidate) -> None:
        """The dial of ``candidate`` has succeeded."""
        member = candidate.member
        if member.is_undisturbed:
            member.results["ok"] += 1
        elif member.succeeded(self._seconds()) and self._may_log(member):
            log_up_again(self.name, member.name, "a connection has succeeded")

    def failed(
        self,
        candidate: Candidate,
        result: DialResult,
        why: str,
        *,
        blameless: bool = False,
        abandoned: bool = False,
    ) -> None:
        """The dial of ``candidate`` has failed: see :meth:`~smartproxy.upstream.member.Member.failed`.

        :param why: for the log, one line of ASCII.
        """
        # Where each client has a host of its own, one that does not answer must not take the others' away.
        member, passive = candidate.member, None if candidate.is_chosen else self._plan.passive
        was_up = member.dials is Dials.HEALTHY
        if member.dials is not Dials.EJECTED and not (blameless or abandoned):
            member.ejected_by = why  # before: who is told of the ejection reads it
        is_ejected = member.failed(result, passive, self._seconds(), blameless=blameless, abandoned=abandoned)
        # A failed probe changes nothing: a dead target would have a line for each.
        if is_ejected and was_up and passive is not None and self._may_log(member):
            log_ejected(self.name, member.name, passive.eject_for, why)
        self.release(candidate)

    def answered_badly(self, candidate: Candidate, why: str) -> None:
        """The answer of ``candidate`` to a request is no HTTP, or there is none; ``why`` as for :meth:`failed`."""
        passive, member = None if candidate.is_chosen else self._plan.passive, candidate.member
        if passive and member.answered_badly(why, passive, self._seconds()) and self._may_log(member):
            log_ejected(self.name, member.name, passive.eject_for, why)

    def withdrawn(self, candidate: Candidate) -> None:
        """The client of a dial has disconnected before there was a result."""
        candidate.member.withdraw(self._seconds())
        self.release(candidate)

    def hesitates(self, candidate: Candidate) -> bool:
        """A dial of ``candidate`` is not answered. Returns whether others take its place until it has ended."""
        others = self._standings[Standing.UP, False] + self._standings[Standing.UP, True]
        present = self._by_member.get(candidate.member)
        if present is None or present.is_chosen or self._plan.passive is None:
            return False
        if present.standing is Standing.UP and others > 1:
            candidate.member.hesitate(hesitant=True)
        return candidate.member.hesitant

    def release(self, candidate: Candidate) -> None:
        """A connection of ``candidate`` has ended. It may be one of a former configuration."""
        member = candidate.member
        member.active -= 1
        if member.shared is not None:
            member.shared.set(member.active)
        present = self._by_member.get(member)
        if present is None:
            return
        if not present.inside:
            if present.limit:
                self._place(present)
        elif self._follows_load:
            self._balancer.changed(present)
        if self._queue:
            self._serve_waiting()

    def end(self) -> None:
        """It is not configured any more. Its connections go on, and those that were accepted before are still assigned."""
        self.notify = ignore
        self._waiting.refuse_all(f"group {self.name} was removed")
        self._members.keep(self.name, (), self._seconds())
        for candidate in self.candidates:
            candidate.member.on_change = self._changed

    def _begin(self, *, is_first: bool = False) -> None:
        """Give the balancer the present candidates.

        :param is_first: whether the group had none before, so that no tier was in use.
        """
        self._standings.clear()
        self._probed.clear()
        self._crowded.clear()
        for candidate in self.candidates:
            candidate.begin()
            self._standings[candidate.standing, candidate.target.backup] += 1
            self._probed.note(candidate)
        self._balancer.begin(self.candidates)
        former, self.tier = self.tier, best_tier(self._standings)
        if self.tier is not former and not is_first and len(self.candidates) > 1:
            log_tier(self._flaps, self.name, self.tier, self._seconds())
        for candidate in self.candidates:
            self._place(candidate)
        self._serve_waiting()

    def _may_log(self, member: Member) -> bool:
        return self._flaps.may_log(f"target {self.name}/{member.name}", member.state, self._seconds())

    def _place(self, candidate: Candidate) -> None:
        """Let the balancer choose ``candidate``, or not."""
        inside = candidate.has_room and self.uses(candidate)
        if candidate.member.shared is not None:
            self._crowded.note(candidate, is_crowded=not inside and self.uses(candidate))
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
            before, candidate.state = candidate.state, member.state
            self.notify(self, candidate, before)
        former, weight = candidate.standing, candidate.weight
        candidate.refresh()
        candidate.standing = candidate.judge()
        self._standings[former, candidate.target.backup] -= 1
        self._standings[candidate.standing, candidate.target.backup] += 1
        if candidate.weight != weight or best_tier(self._standings) is not self.tier:
            self._begin()
            return
        self._probed.note(candidate)
        self._place(candidate)
        self._serve_waiting()

    def _due_probe(self, client: str, tried: Collection[Candidate]) -> Candidate | None:
        """An ejected candidate whose time is over, and which gets this connection."""
        candidate = self._next_probe(client, tried)
        if candidate is None or not self._count(candidate):
            return None
        candidate.member.probe(self._seconds())
        return candidate

    def _next_probe(self, client: str | None, tried: Collection[Candidate]) -> Candidate | None:
        return self._probed.due(self._seconds(), tried, lambda candidate: self._may_probe(candidate, client))

    def _may_probe(self, candidate: Candidate, client: str | None) -> bool:
        if not candidate.has_room or (candidate.target.backup and self.tier is Tier.PRIMARY):
            return False
        if self._queue or not isinstance(self._balancer, SourceHash):
            return True
        # Another client would lose its own target by it. One that waits gets whichever is free.
        return client is not None and self._balancer.owner(client) is candidate

    def _choose(self, client: str, tried: Collection[Candidate]) -> Candidate | None:
        """Choose and count a candidate. Other processes may fill each of them at this moment."""
        for _ in self.candidates:
            candidate = self._balancer.choose(client, tried)
            if candidate is None or self._count(candidate):
                return candidate
        return None

    def _count(self, candidate: Candidate) -> bool:
        """Count a connection of ``candidate``. Returns ``False`` where other processes have just filled it."""
        member = candidate.member
        if member.shared is not None and not member.shared.claim(member.active + 1, candidate.limit):
            self._place(candidate)
            return False
        member.active += 1
        if member.unused_since is not None:  # of a group that was removed: it may have been dropped since
            self._members.restore(member, self._seconds())
            member.on_change = self._changed
        if candidate.limit and (member.active >= candidate.limit or member.shared is not None):
            self._place(candidate)
        if self._follows_load and candidate.inside:
            self._balancer.changed(candidate)
        return True

    def _serve_waiting(self) -> None:
        """Assign what has become free to those who wait, first in, first out."""
        if not self._queue:
            return
        if self.tier is Tier.NONE:
            if self._plan.is_searching:
                return
            self._waiting.refuse_all(no_target(self.name, self.candidates))
        if self._is_serving:
            return  # a dial has failed at once: the loop below goes on with what that has released
        self._is_serving, now = True, self._seconds()
        try:
            while self._queue and self._serve_first():
                pass
        finally:
            self._is_serving = False
        self._watch_targets(now)

    def _watch_targets(self, since: float) -> None:
        """Serve those who wait also when other processes have made room, and when a probe is due that was not at ``since``."""
        self._crowded.watch(self._place, self._serve_waiting)
        self._waiting.serve_at(self._probed.next_at(since), self._serve_waiting)

    def _serve_first(self) -> bool:
        """Assign a candidate to the first client. Returns whether it does not wait any more."""
        client = self._waiting.client
        try:
            candidate = (self._due_probe(client, ()) if self._probed else None) or self._choose(client, ())
        except Exception:  # of a program's balancer: this client's connection ends
            self._waiting.fail(Failure())
            return True
        if candidate is None:
            return False
        self._waiting.serve(candidate)
        return True
