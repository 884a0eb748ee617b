"""Target groups from outside: what state their targets are in, and setting it by hand."""

from __future__ import annotations

from collections import deque
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from twisted.logger import Logger

from smartproxy.errors import UnknownTarget
from smartproxy.metrics.targets import RequestsOfGroup, TargetCounts
from smartproxy.model.target_status import ShownTarget, TargetState
from smartproxy.upstream.candidate import address_of, named_targets
from smartproxy.upstream.member import CHECK_RESULTS, DIAL_RESULTS, Dials, HandState, Member

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from smartproxy.model.record import ConnectionRecord
    from smartproxy.model.target_status import Upcoming
    from smartproxy.upstream.candidate import Candidate
    from smartproxy.upstream.group import Group
    from smartproxy.upstream.groups import Groups

log = Logger()
#: ``up`` leaves the state to checks and dials again, and ends an ejection. The other two keep connections, and let none in.
SettableState: TypeAlias = Literal["up", "drain", "down"]
SETTABLE: tuple[str, ...] = get_args(SettableState)
#: The highest weight of a target.
HIGHEST_WEIGHT = 1000
#: Names that a message about an unknown one lists.
MOST_NAMED = 10
#: Why a target drains that was removed.
_REMOVED = "removed from the group"
#: Names that are compared with the unknown one: more would take a noticeable time.
_MOST_COMPARED = 200


class TargetGroups:
    """The target groups of the configuration in force: ``proxy.groups``. Iterating gives their names.

    ::

        proxy.groups.targets("db")                          # ShownTarget of each
        proxy.groups.peek("db", "192.0.2.7")                # what the next connection would get
        proxy.groups.set_state("db", "one", "drain")        # until the process starts again
        proxy.groups.set_weight("db", "one", 3)
        proxy.groups.on_change.append(changed)              # changed(target, before)

    :param live: the live connections.
    :param idle_by_group: gives the number of idle connections to the targets of each group.
    :ivar on_change: a list of callables. Each is called with a target whose state has changed, a :class:`ShownTarget`, and its
        state before: ``up``, ``down``, ``drain`` or ``ejected``. They are called in the thread of the reactor and must return
        at once. What one raises is logged, and nothing else comes of it.
    """

    def __init__(
        self,
        groups: Groups,
        live: Mapping[int, ConnectionRecord],
        clock: Callable[[], float],
        idle_by_group: Callable[[], Mapping[str, int]],
    ) -> None:
        self._groups = groups
        self._live = live
        self._clock = clock
        self._idle_by_group = idle_by_group
        self.on_change: list[Callable[[ShownTarget, TargetState], object]] = []
        #: Changes that are not reported yet: a callable may cause another change while one is reported to it.
        self._changes: deque[tuple[ShownTarget, TargetState]] = deque()
        self._is_reporting = False
        groups.notify = self._changed

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def names(self) -> list[str]:
        """The names of all groups. A route with targets of its own is a group of the route's name."""
        return self._groups.names()

    def targets(self, group: str | None = None) -> list[ShownTarget]:
        """The targets of ``group``, or of all groups.

        One that was removed is shown as ``drain`` until its last connection has ended.

        :raises UnknownTarget: where there is no such group.
        """
        groups = self._groups if group is None else [self._group(group)]
        moved = self._moved()
        return [shown for one in groups for shown in self._shown_of(one, moved)]

    def peek(self, group: str, client: str | None = None) -> Upcoming:
        """What the next connection to ``group`` would get, if it came now. It takes no turn.

        :param client: the client's IP address; ``None`` is any client.
        :raises UnknownTarget: where there is no such group.
        """
        return self._group(group).peek(client)

    def set_state(
        self, group: str, name: str, state: SettableState | str, *, by: str = "the program"
    ) -> None:
        """Exclude a target from new connections, or stop doing so.

        :param by: who wants it, for the log.
        :raises UnknownTarget: where there is no such target.
        :raises ValueError: where ``state`` is none of the three.
        """
        self.check_state(state)
        member = self._member(group, name)
        now, former = self._clock(), (member.by_hand, member.dials)
        # Before what follows from it: that the group has no target left, and so on.
        if former != ((None, Dials.HEALTHY) if state == "up" else (state, member.dials)):
            log.info(
                "target {group}/{target} is set to {state} by {who}",
                group=group, target=name, state=state, who=by,
            )  # fmt: skip
        if state == "up":
            member.set_by_hand(None, member.weight_by_hand, now)
            member.readmit(now)
        else:
            member.set_by_hand(HandState(state), member.weight_by_hand, now)

    def hold(self, group: str, name: str, state: str | None, weight: int | None) -> None:
        """Let what was set in another process hold here, too: now, or as soon as the target is known.

        :param state: ``None`` and ``up`` leave it to checks and dials; ``None`` for ``weight`` is that of the configuration.
        """
        by_hand = None if state in {None, "up"} else HandState(state)
        self._groups.find(group)  # makes it, so that its targets are counted as they are
        self._groups.members.hold(group, name, by_hand, weight, self._clock())

    def check_state(self, state: object) -> None:
        """Raise ``ValueError`` where ``state`` cannot be set."""
        if state not in SETTABLE:
            raise ValueError('state must be "up", "drain" or "down"')

    def set_weight(self, group: str, name: str, weight: int | None, *, by: str = "the program") -> None:
        """Give a target another weight; ``None`` is that of the configuration.

        :param by: who wants it, for the log.
        :raises UnknownTarget: where there is no such target.
        :raises ValueError: where ``weight`` is not from 0 to 1000.
        """
        if weight is not None and (type(weight) is not int or not 0 <= weight <= HIGHEST_WEIGHT):
            raise ValueError(f"weight must be 0..{HIGHEST_WEIGHT}")
        member = self._member(group, name)
        if weight != member.weight_by_hand:
            log.info(
                "target {group}/{target} is set to {weight} by {who}",
                group=group, target=name, who=by,
                weight="the weight of the configuration" if weight is None else f"weight {weight}",
            )  # fmt: skip
        member.set_by_hand(member.by_hand, weight, self._clock())

    def target_counts(self) -> list[TargetCounts]:
        """The counts of every target that is configured or still has connections, for the metrics."""
        counts = list(self.each_target_count())
        for plan in self._groups.unused():
            counts += (unused_target(plan.name, name) for name in named_targets(plan))
        return counts

    def each_target_count(self) -> Iterator[TargetCounts]:
        """Those of groups that have been made, one by one. A reader may pause in between.

        The bytes of targets with connections are read at the first: a connection that closes during a pause counts once.
        """
        moved = {
            member: (member.received + received, member.sent + sent)
            for member, (received, sent) in self._moved().items()
            if isinstance(member, Member)
        }
        for member in self._groups.members.each():
            received, sent = moved.get(member) or (member.received, member.sent)
            yield TargetCounts(
                member.group,
                member.name,
                member.state == "up" and member.unused_since is None,
                member.active,
                dict(member.results),
                dict(member.checks),
                member.ejections,
                received,
                sent,
            )

    def queue_lengths(self) -> list[tuple[str, int]]:
        """Each group, and how many clients wait for one of its targets."""
        return [*self.each_queue_length(), *((plan.name, 0) for plan in self._groups.unused())]

    def each_queue_length(self) -> Iterator[tuple[str, int]]:
        """Likewise. A reader may pause in between."""
        for group in self._groups.in_use():
            yield group.name, group.waiting

    def request_counts(self) -> list[RequestsOfGroup]:
        """The counts of each group that had HTTP requests."""
        idle = self._idle_by_group()
        return [
            RequestsOfGroup(group.name, counts.retries, counts.active, idle.get(group.name, 0))
            for group in self._groups.in_use()
            if (counts := group.requests) is not None
        ]

    def _changed(self, group: Group, candidate: Candidate, before: TargetState) -> None:
        if not self.on_change:
            return
        moved = self._moved().get(candidate.member, (0, 0))
        self._changes.append((_shown(group, candidate, moved), before))
        if self._is_reporting:
            return
        self._is_reporting = True
        try:
            while self._changes:
                self._report(*self._changes.popleft())
        finally:
            self._is_reporting = False

    def _report(self, shown: ShownTarget, before: TargetState) -> None:
        for call in list(self.on_change):
            try:
                call(shown, before)
            except Exception:
                log.failure("a callable of on_change failed for {target}", target=shown.name)

    def _shown_of(self, group: Group, moved: Mapping[object, tuple[int, int]]) -> Iterator[ShownTarget]:
        for candidate in group.candidates:
            yield _shown(group, candidate, moved.get(candidate.member, (0, 0)))
        for candidate in group.draining:
            shown = _shown(group, candidate, moved.get(candidate.member, (0, 0)))
            by_hand = candidate.member.weight_by_hand is not None
            yield shown._replace(state="drain", why=_REMOVED, set_by_hand=by_hand, effective_weight=0)

    def _member(self, group: str, name: str) -> Member:
        candidates = self._group(group).candidates
        for candidate in candidates:
            if candidate.name == name:
                return candidate.member
        known = _in_brief(name, [candidate.name for candidate in candidates])
        raise UnknownTarget(f"there is no target {name!a} in group {group!a}; it has {known}")

    def _group(self, name: str) -> Group:
        found = self._groups.find(name)
        if found is None:
            raise UnknownTarget(f"there is no group {name!a}; there is {_in_brief(name, self.names())}")
        return found

    def _moved(self) -> dict[object, tuple[int, int]]:
        """The bytes of live connections by member."""
        moved: dict[object, tuple[int, int]] = {}
        for record in self._live.values():
            member = record.member_in_use
            if member is not None:
                (received, sent), more = moved.get(member, (0, 0)), record.unsettled()
                moved[member] = received + more[0], sent + more[1]
        return moved


def unused_target(group: str, name: str) -> TargetCounts:
    """The counts of a target of a group that had no connection."""
    results, checks = dict.fromkeys(DIAL_RESULTS, 0), dict.fromkeys(CHECK_RESULTS, 0)
    return TargetCounts(
        group, name, up=True, active=0, results=results, checks=checks, ejections=0, received=0, sent=0
    )


def _in_brief(wanted: str, names: list[str]) -> str:
    """The names for a message in ASCII, those most like ``wanted`` first."""
    if not names:
        return "none"
    alike = get_close_matches(wanted, names[:_MOST_COMPARED], MOST_NAMED, 0.6)
    shown = [*alike, *(name for name in names if name not in alike)][:MOST_NAMED]
    left = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return ", ".join(ascii(name)[1:-1] for name in shown) + left


def _shown(group: Group, candidate: Candidate, moved: tuple[int, int]) -> ShownTarget:
    member, target = candidate.member, candidate.target
    return ShownTarget(
        group=group.name,
        name=candidate.name,
        address=address_of(candidate.host, target.port),
        state=member.state,
        why=member.why,
        set_by_hand=member.by_hand is not None or member.weight_by_hand is not None,
        weight=candidate.weight,
        effective_weight=round(candidate.weight * candidate.share(), 2) if group.uses(candidate) else 0,
        backup=target.backup,
        connections=member.active,
        queued=group.waiting,
        received=member.received + moved[0],
        sent=member.sent + moved[1],
        last_check=member.last_check,
    )
