"""The state of a target, as the admin API, the metrics and an embedding program see it."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

TargetState: TypeAlias = Literal["up", "down", "drain", "ejected"]


class ShownCheck(NamedTuple):
    """The last check of a target.

    :ivar at: seconds since the epoch.
    :ivar detail: what was found, in one line.
    """

    at: float
    ok: bool
    detail: str


class CheckedTarget(NamedTuple):
    """A target, as a program's check sees it.

    :ivar name: its name in ``group``.
    :ivar host: as the configuration has it: an address or a name; of a unix socket, ``unix:`` and its path.
    :ivar port: to ask: that of the check, or else of the target; 0 of a unix socket.
    """

    group: str
    name: str
    host: str
    port: int


class ShownTarget(NamedTuple):
    """One target of one group.

    :ivar address: ``host:port``, as the configuration has them.
    :ivar why: why it is not up: what a check or a dial has found, or that it was removed, in one line; ``None`` while it is up.
    :ivar set_by_hand: whether its state or weight was set by an operator.
    :ivar weight: of the configuration, or as set by hand.
    :ivar effective_weight: what it has now: less during its slow start, 0 while it gets no connections.
    :ivar connections: dialed or established now.
    :ivar queued: clients that wait for a target of its group.
    :ivar received: bytes from clients, those of live connections included.
    :ivar sent: bytes to clients, likewise.
    """

    group: str
    name: str
    address: str
    state: TargetState
    why: str | None
    set_by_hand: bool
    weight: int
    effective_weight: float
    backup: bool
    connections: int
    queued: int
    received: int
    sent: int
    last_check: ShownCheck | None


class Upcoming(NamedTuple):
    """What the next connection would get.

    :ivar outcome: ``target``; ``queue``: it would wait; else the reason why it would be refused.
    :ivar targets: the names of those of which it would get one: several where that is drawn, or depends on the client.
    """

    outcome: Literal["target", "queue", "queue_full", "target_limit", "no_target"]
    targets: list[str]
