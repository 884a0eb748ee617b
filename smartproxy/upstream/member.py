"""A member: one target of a group as the proxy knows it while it runs, and what is known of its health.

A member is kept by the names of its group and of its target (:class:`Members`), so everything here outlives a reload:
its connections, whether it is ejected, what its checks found, and what was set by hand. Its address and terms are those
of the configuration, and stand in a :class:`~smartproxy.upstream.group.Candidate`.

Three sources decide whether it is usable, and each is kept by itself::

    by hand   drain or down; None leaves it to the other two
    checks    up or down
    dials     HEALTHY --> EJECTED <--> PROBING     enough dials have failed: no connections for ejectFor, then one
                 ^           |            |        tries it, and the outcome decides
                 `-----------+------------'        a dial has succeeded
"""

from __future__ import annotations

from enum import StrEnum, auto
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from smartproxy.flow.states import State, following
from smartproxy.upstream.state_log import FlapLog

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from smartproxy.flow.states import Table
    from smartproxy.model.plan import PassiveHealthPlan
    from smartproxy.model.target_status import ShownCheck, TargetState
    from smartproxy.upstream.shared_targets import SharedTargets, TargetNumber

#: What came of a dial.
DialResult: TypeAlias = Literal["ok", "refused", "timeout", "unreachable", "tls_error"]
DIAL_RESULTS: Final = ("ok", "refused", "timeout", "unreachable", "tls_error")
CHECK_RESULTS: Final = ("ok", "failed")
#: Seconds that the series of a removed member outlive its last connection, for one more scrape.
LAST_SCRAPE = 15.0


class Dials(State):
    """What dials say about a member."""

    HEALTHY = auto()
    EJECTED = auto()
    PROBING = auto()  # one connection tries it


class DialEvent(State):
    """What changes that."""

    EJECTED = auto()  # enough failures, or a failed probe
    PROBED = auto()  # a connection was assigned after ejectFor
    WITHDRAWN = auto()  # its client has disconnected before there was a result
    RECOVERED = auto()  # a dial has succeeded; it may have begun before the ejection


#: An event that is missing indicates a bug: it raises IllegalTransition.
DIALS: Table[Dials, DialEvent] = {
    Dials.HEALTHY: {DialEvent.EJECTED: Dials.EJECTED},
    Dials.EJECTED: {DialEvent.PROBED: Dials.PROBING, DialEvent.RECOVERED: Dials.HEALTHY},
    Dials.PROBING: {
        DialEvent.EJECTED: Dials.EJECTED,
        DialEvent.WITHDRAWN: Dials.EJECTED,
        DialEvent.RECOVERED: Dials.HEALTHY,
    },
}
_HEALTHY, _EJECTED, _PROBING = Dials.HEALTHY, Dials.EJECTED, Dials.PROBING


class HandState(StrEnum):
    """What an operator may set. Both keep connections and get no new ones."""

    DRAIN = "drain"
    DOWN = "down"


class Member:
    """One target of one group.

    :ivar active: connections that are dialed or established now.
    :ivar shared: the number of its connections where several processes share its limit; ``None``: they do not, or it has
        had no limit.
    :ivar received: bytes received from clients for it, of closed connections.
    :ivar sent: bytes sent to clients from it, likewise.
    :ivar results: dials by result; :attr:`checks` likewise for checks.
    :ivar ejections: how often it was ejected.
    :ivar dials: what dials say about it.
    :ivar ejected_by: what the dial that has ejected it last has found, one line.
    :ivar is_undisturbed: whether no dial has failed or hesitated since the last one that succeeded, which then changes nothing.
    :ivar hesitant: whether a dial has not been answered for a while (:mod:`smartproxy.upstream.pending`).
    :ivar probe_at: monotonic time from which one connection may try it, while it is ejected.
    :ivar passed: whether its checks find it up; true without checks, and before the first result.
    :ivar by_hand: what an operator has set; ``None``: nothing.
    :ivar weight_by_hand: likewise.
    :ivar usable_since: monotonic time since when it is usable again; ``-inf`` for one that always was.
    :ivar due: when it is due, as round robin counts; ``None`` before its first turn.
    :ivar turn: when it was last chosen, as least connections count.
    :ivar on_change: called when :attr:`is_usable` or the weight may have changed; set by the member's group.
    """

    __slots__ = (
        "_bad_at", "_failed_at", "active", "by_hand", "checks", "dials", "due", "ejected_by", "ejections", "group", "hesitant",
        "is_undisturbed",
        "last_check", "name", "on_change", "passed", "probe_at", "received", "results", "sent", "shared", "turn",
        "unused_since",
        "usable_since", "weight_by_hand",
    )  # fmt: skip

    def __init__(self, group: str, name: str) -> None:
        self.group = group
        self.name = name
        self.active = 0
        self.shared: TargetNumber | None = None
        self.received = 0
        self.sent = 0
        self.results: dict[str, int] = dict.fromkeys(DIAL_RESULTS, 0)
        self.checks = dict.fromkeys(CHECK_RESULTS, 0)
        self.ejections = 0
        self.dials = _HEALTHY
        self.ejected_by = ""
        self.probe_at = float("inf")
        self.hesitant = False
        self.is_undisturbed = True
        self.passed = True
        self.last_check: ShownCheck | None = None
        self.by_hand: HandState | None = None
        self.weight_by_hand: int | None = None
        self.usable_since = float("-inf")
        self.unused_since: float | None = None
        self.due: float | None = None
        self.turn = 0
        self.on_change: Callable[[Member], None] = _ignore
        self._failed_at: list[float] = []
        #: When requests were answered badly. A dial that succeeds does not clear it: that target accepts connections.
        self._bad_at: list[float] = []

    def has_room(self, limit: int) -> bool:
        """Whether it has fewer than ``limit`` connections."""
        return (self.active if self.shared is None else self.shared.total()) < limit

    @property
    def is_usable(self) -> bool:
        """Whether new connections are assigned to it in its turn."""
        return self.passed and self.dials is _HEALTHY and self.by_hand is None and not self.hesitant

    @property
    def is_withheld(self) -> bool:
        """Whether an operator has excluded it: then not even a group whose members are all down uses it."""
        return self.by_hand is not None

    @property
    def state(self) -> TargetState:
        """The state as it is shown: what was set by hand wins, and then what the checks say."""
        if self.by_hand is not None:
            return "drain" if self.by_hand is HandState.DRAIN else "down"
        if not self.passed:
            return "down"
        return "up" if self.dials is _HEALTHY else "ejected"

    @property
    def why(self) -> str | None:
        """Why it is not up; ``None`` while it is. It follows :attr:`state`."""
        if self.by_hand is not None:
            return "set by hand"
        if not self.passed:
            last = self.last_check
            return "its checks have failed" if last is None or last.ok else last.detail
        return None if self.dials is _HEALTHY else self.ejected_by

    def succeeded(self, now: float) -> bool:
        """A dial has succeeded. Returns whether that ends an ejection."""
        self.results["ok"] += 1
        if self._failed_at:
            self._failed_at.clear()
        if self.hesitant:
            self.hesitate(hesitant=False)
        self.is_undisturbed = True
        if self.dials is _HEALTHY:
            return False
        self._set(DialEvent.RECOVERED, now)
        return True

    def failed(
        self,
        result: DialResult,
        passive: PassiveHealthPlan | None,
        now: float,
        *,
        blameless: bool = False,
        abandoned: bool = False,
    ) -> bool:
        """A dial has failed. Returns whether that ejects the member.

        :param blameless: whether that says nothing about the target.
        :param abandoned: whether it was not waited for, because another dial decides; that says nothing, either.
        :param passive: when it is ejected; ``None``: never.
        """
        self.is_undisturbed = False
        self.results[result] += 1
        # The group is notified below, when the outcome is known: it must not assign a waiting client to this member before.
        was_hesitant, self.hesitant = self.hesitant, self.hesitant and abandoned
        says_nothing = blameless or abandoned
        if passive is not None and not says_nothing and self._is_to_be_ejected(passive, now):
            self._eject(passive, now)
            return True
        if self.dials is _PROBING:
            self._set(DialEvent.WITHDRAWN, now)
        elif was_hesitant and not self.hesitant:
            self.on_change(self)
        return False

    def _is_to_be_ejected(self, passive: PassiveHealthPlan, now: float) -> bool:
        """Whether a failed dial ejects it; not where another connection that was dialed at the same time has done so."""
        return self.dials is _PROBING or (
            self.dials is _HEALTHY and _is_enough(self._failed_at, passive, now)
        )

    def answered_badly(self, why: str, passive: PassiveHealthPlan, now: float) -> bool:
        """A request was answered with no HTTP, or not at all. Returns whether that ejects the member.

        :param why: for the log, one line of ASCII.
        """
        if self.dials is not _HEALTHY or not _is_enough(self._bad_at, passive, now):
            return False
        self.ejected_by = why  # before: who is told of the ejection reads it
        self.is_undisturbed = False
        self._eject(passive, now)
        return True

    def _eject(self, passive: PassiveHealthPlan, now: float) -> None:
        self.ejections += 1
        self.probe_at = now + passive.eject_for
        self._set(DialEvent.EJECTED, now)

    def probe(self, now: float) -> None:
        """One connection tries an ejected member."""
        self._set(DialEvent.PROBED, now)

    def hesitate(self, *, hesitant: bool) -> None:
        """A dial is not answered, or has ended. That is no change of its health: no slow start follows."""
        self.hesitant = hesitant
        self.is_undisturbed = False
        self.on_change(self)

    def withdraw(self, now: float) -> None:
        """The client of a dial has disconnected before there was a result. The next connection may try at once."""
        if self.hesitant:
            self.hesitate(hesitant=False)
        if self.dials is _PROBING:
            self._set(DialEvent.WITHDRAWN, now)

    def readmit(self, now: float) -> None:
        """End an ejection without a dial: passive health was turned off."""
        if self.dials is not _HEALTHY:
            self._set(DialEvent.RECOVERED, now)

    def check(self, *, passed: bool, now: float) -> None:
        """Checks have found it up or down."""
        was_usable = self.is_usable
        self.passed = passed
        self._changed(was_usable, now)

    def set_by_hand(self, state: HandState | None, weight: int | None, now: float) -> None:
        """What an operator wants; ``None`` leaves the state, or the weight, to the configuration."""
        was_usable = self.is_usable
        self.by_hand = state
        self.weight_by_hand = weight
        self._changed(was_usable, now)

    def joined(self, now: float) -> None:
        """It was added to a group that is in use: its share grows as that of one that comes back."""
        self.usable_since = now

    def _set(self, event: DialEvent, now: float) -> None:
        was_usable = self.is_usable
        self.dials = following(DIALS, self.dials, event)
        self._changed(was_usable, now)

    def _changed(self, was_usable: bool, now: float) -> None:
        if self.is_usable and not was_usable:
            self.usable_since = now
        self.on_change(self)


def _is_enough(failed_at: list[float], passive: PassiveHealthPlan, now: float) -> bool:
    """Add a failure. Returns whether they eject: then none is left."""
    failed_at[:] = [at for at in failed_at if now - at < passive.window]
    failed_at.append(now)
    if len(failed_at) < passive.failures:
        return False
    failed_at.clear()
    return True


def _ignore(_: Member) -> None:
    """It belongs to no group that is configured."""


class Members:
    """Every member that is configured, or still has a connection.

    :ivar shared: where the numbers of several processes are; ``None``: limits are those of this process.
    :ivar flaps: which changes of their states are logged.
    """

    def __init__(self, shared: SharedTargets | None = None) -> None:
        self.flaps = FlapLog()
        self.shared = shared
        #: By group and name.
        self._members: dict[str, dict[str, Member]] = {}
        #: What was set by hand of members that are not known now, by group and name: it holds as soon as they are.
        self._by_hand: dict[tuple[str, str], tuple[HandState | None, int | None]] = {}

    @property
    def held_groups(self) -> list[str]:
        """The groups of members that are not known now, and of which something was set by hand."""
        return list(dict.fromkeys(group for group, _ in self._by_hand))

    def __iter__(self) -> Iterator[Member]:
        for members in self._members.values():
            yield from members.values()

    def each(self) -> Iterator[Member]:
        """Every member. A reader may pause in between, and members may be added and dropped meanwhile."""
        for members in list(self._members.values()):
            yield from list(members.values())

    def of(self, group: str, name: str) -> Member:
        """The member ``name`` of ``group``; created on first use."""
        members = self._members.setdefault(group, {})
        member = members.get(name)
        if member is None:
            member = members[name] = Member(group, name)
            member.by_hand, member.weight_by_hand = self._by_hand.pop((group, name), (None, None))
        member.unused_since = None
        return member

    def find(self, group: str, name: str) -> Member | None:
        """The member, if there is one."""
        return self._members.get(group, {}).get(name)

    def hold(self, group: str, name: str, state: HandState | None, weight: int | None, now: float) -> None:
        """Let what an operator has set of a member hold: now, or as soon as the member is known."""
        member, wanted = self.find(group, name), (state, weight)
        if member is None:
            self._by_hand[group, name] = wanted
        elif (member.by_hand, member.weight_by_hand) != wanted:
            member.set_by_hand(state, weight, now)

    def keep(self, group: str, names: Collection[str], now: float) -> None:
        """Members of ``group`` other than ``names`` end when their last connection has ended."""
        for name, member in self._members.get(group, {}).items():
            if name not in names:
                member.on_change = _ignore
                member.unused_since = now if member.unused_since is None else member.unused_since

    def restore(self, member: Member, now: float) -> None:
        """Count ``member``, of a removed group, again: a connection that was accepted before may get it."""
        if self._members.setdefault(member.group, {}).setdefault(member.name, member) is member:
            member.unused_since = now
            self._by_hand.pop((member.group, member.name), None)

    def prune(self, now: float) -> None:
        """Drop members that were removed and have had no connection for :data:`LAST_SCRAPE`; log who has flapped."""
        self.flaps.flush(now)
        for member in [member for member in self if member.unused_since is not None]:
            if member.active:
                member.unused_since = now
            elif now - (member.unused_since or 0.0) >= LAST_SCRAPE:
                self._drop(member)

    def _drop(self, member: Member) -> None:
        member.on_change = _ignore  # its group refers to it: no cycle is left to the garbage collector
        if self.shared is not None and member.shared is not None:
            member.shared = None
            self.shared.drop_target(member.group, member.name)
        if member.by_hand is not None or member.weight_by_hand is not None:
            self._by_hand[member.group, member.name] = member.by_hand, member.weight_by_hand
        del self._members[member.group][member.name]
        if not self._members[member.group]:
            del self._members[member.group]
