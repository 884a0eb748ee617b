"""A candidate: a member with the address and the terms that one configuration gives it."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from smartproxy.model.address import Endpoint, UnixEndpoint
from smartproxy.model.plan.target import CLIENT_NAME
from smartproxy.wire.host import is_address, unmapped

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from smartproxy.model.plan import GroupPlan, TargetPlan
    from smartproxy.model.plan.target import Choice, TargetHost
    from smartproxy.model.target_status import TargetState
    from smartproxy.upstream.member import Member

#: The least share of its weight that a target gets when its slow start begins: haproxy begins at a hundredth, too.
_LEAST_SHARE = 0.01


class Standing(Enum):
    """Whether a candidate may get connections."""

    EXCLUDED = auto()  # by an operator, or its weight is 0
    DOWN = auto()  # only where no other is up
    UP = auto()


class Candidate:
    """One target of a group, as balancing sees it. A reload makes others; :attr:`name` stays.

    :param slow_start: seconds; 0 is off.
    :ivar name: unique in its group.
    :ivar index: its place in the group, from 0.
    :ivar limit: its ``maxConnections``; 0 is none.
    :ivar is_chosen: whether host or port are chosen for each connection. A failed dial says nothing of other connections then.
    :ivar endpoint: where to connect, if nothing has to be chosen, resolved, bound or encrypted for it.
    :ivar is_literal: whether the host is an address and needs no name resolution.
    :ivar weight: relative share of connections, above 0 while it is :attr:`inside`.
    :ivar inside: whether it gets connections in its turn: usable, of the tier in use, and below its limit.
    :ivar is_ramping: whether its share still grows (``slowStart``).
    :ivar state: of its member, when it was last reported.
    :ivar alike: the idle connections that a request for it may use; ``None``: it gets one of its own.
    :ivar is_alike_known: whether :attr:`alike` was found out, and is the same for each request.
    :ivar standing: whether it may get connections, as its group has last counted it.
    """

    __slots__ = (
        "_clock", "_credit", "_slow_start", "alike", "endpoint", "host", "index", "inside", "is_alike_known", "is_chosen",
        "is_literal", "is_ramping", "limit", "member", "name", "queued", "stamp", "standing", "state", "stride", "target", "weight",
    )  # fmt: skip

    def __init__(
        self,
        target: TargetPlan,
        host: TargetHost,
        member: Member,
        index: int,
        slow_start: float,
        clock: Callable[[], float],
    ) -> None:
        self.target = target
        self.host = host
        self.member = member
        self.name = member.name
        self.index = index
        self.limit = target.max_connections
        self.is_chosen = callable(host) or callable(target.port) or host == CLIENT_NAME
        self.is_literal = isinstance(host, str) and is_address(host)
        self.endpoint = _fixed_endpoint(target, host)
        self.inside = False
        self.is_ramping = False
        self.queued = False
        self.standing = Standing.EXCLUDED
        self.alike: Any = None  # an IdleConnections, whose own parts are connections to candidates
        self.is_alike_known = False
        self.stamp = 0
        self.state: TargetState = member.state
        self._credit = 0.0
        self._slow_start = slow_start
        self._clock = clock
        self.weight = 0
        self.stride = 0.0
        self.refresh()

    def refresh(self) -> None:
        """Take over the weight that was set by hand, and begin a slow start that is due."""
        by_hand = self.member.weight_by_hand
        self.weight = self.target.weight if by_hand is None else by_hand
        self.stride = 1 / self.weight if self.weight else 0.0
        self.is_ramping = bool(self._slow_start) and self.share() < 1

    def begin(self) -> None:
        """Take over the state of its member. It is outside until its group lets the balancer choose it."""
        self.refresh()
        self.inside = self.queued = False
        self.standing = self.judge()

    def judge(self) -> Standing:
        """Its standing by the present state of its member."""
        if not self.weight or self.member.is_withheld:
            return Standing.EXCLUDED
        return Standing.UP if self.member.is_usable else Standing.DOWN

    @property
    def connections(self) -> int:
        """Its connections: dialed or established now."""
        return self.member.active

    @property
    def has_room(self) -> bool:
        """Whether it is below its ``maxConnections``."""
        return not self.limit or self.member.has_room(self.limit)

    @property
    def load(self) -> float:
        """Connections per weight, as if it got the next one."""
        return (self.member.active + 1) * self.stride

    def share(self) -> float:
        """The part of its weight that it has now: 1, except during its slow start."""
        if not self._slow_start:
            return 1.0
        elapsed = self._clock() - self.member.usable_since
        if elapsed >= self._slow_start:
            self.is_ramping = False
            return 1.0
        return max(elapsed / self._slow_start, _LEAST_SHARE)

    def passes(self) -> bool:
        """Whether it passes its turn on. During a slow start it takes as many of its turns as its share says."""
        self._credit += self.share()
        if self._credit < 1:
            return True
        self._credit -= 1
        return False


def _fixed_endpoint(target: TargetPlan, host: TargetHost) -> Endpoint | None:
    """The address and port of a plain target, which are the same for each connection."""
    is_plain = target.tls is None and not target.source and target.made is None
    if is_plain and isinstance(host, str) and is_address(host) and isinstance(target.port, int):
        return Endpoint(unmapped(host), target.port)
    return None


def made_candidates(
    plan: GroupPlan, member_of: Callable[[str], Member], clock: Callable[[], float]
) -> list[Candidate]:
    """The candidates of a group, each of its hosts one.

    :param member_of: the member of a name.
    """
    slow_start = plan.balancing.slow_start
    return [
        Candidate(target, host, member_of(name), index, slow_start, clock)
        for index, (name, (target, host)) in enumerate(named_targets(plan).items())
    ]


def named_targets(plan: GroupPlan) -> dict[str, tuple[TargetPlan, TargetHost]]:
    """The targets of a group by name, each of its hosts one."""
    named: dict[str, tuple[TargetPlan, TargetHost]] = {}
    for target in plan.fixed():
        for host in target.hosts if isinstance(target.hosts, tuple) else (target.hosts,):
            named[member_name(target, host, named)] = target, host
    return named


def written_weights(candidates: Iterable[Candidate]) -> dict[str, int]:
    """The weights in the configuration, by name."""
    return {candidate.name: candidate.target.weight for candidate in candidates}


def member_name(target: TargetPlan, host: TargetHost, taken: Collection[str]) -> str:
    """The name of a target, the same after a reload: its own, or its address, or ``callable``.

    :param taken: names of other targets of the group; one that is listed twice gets a number.
    """
    is_chosen = callable(host) or callable(target.port)
    name = target.name or ("callable" if is_chosen else address_of(host, target.port))
    if name not in taken:
        return name
    number = 2
    while f"{name}-{number}" in taken:
        number += 1
    return f"{name}-{number}"


def address_of(host: TargetHost, port: int | Choice | None) -> str:
    """Where a target is, for people: ``host:port``, or ``unix:PATH``.

    :param port: ``None`` for the port that the client connected to.
    """
    if isinstance(host, UnixEndpoint):
        return str(host)
    shown = "callable" if callable(host) else f"[{host}]" if ":" in host else host
    return f"{shown}:{'preserve' if port is None else 'callable' if callable(port) else port}"
