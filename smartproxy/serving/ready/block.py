"""Blocking every connection of a route: closed, reset, or kept waiting (tarpit)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from smartproxy.errors import Refused
from smartproxy.flow.carried_state import CarriesState, TarpitRoom
from smartproxy.model.outcome import RejectReason

if TYPE_CHECKING:
    from smartproxy.serving.connection import Connection, Serve

#: Seconds in a tarpit: a common value of HAProxy's ``timeout tarpit``.
TARPIT_SECONDS = 60.0
#: Most connections in one tarpit. Each costs the proxy a descriptor and some KiB, so their number must be limited.
TARPIT_MOST = 200


def block(
    mode: Literal["close", "reset", "tarpit"] = "close",
    *,
    seconds: float = TARPIT_SECONDS,
    most: int = TARPIT_MOST,
) -> Serve:
    """A handler that refuses every connection. In each mode it is counted as the rejection ``ip_blocked``.

    ``close`` answers in TLS and HTTP (an alert, a 403) and closes; ``reset`` sends a RST; ``tarpit`` neither sends nor
    reads anything, and closes after ``seconds``.

    :param seconds: how long the tarpit holds a connection.
    :param most: most connections in the tarpit; further ones are closed at once.
    :raises ValueError: for another mode.
    """
    if mode == "close":
        return _close
    if mode == "reset":
        return _reset
    if mode == "tarpit":
        return _Tarpit(seconds, most)
    raise ValueError(f"mode must be close, reset or tarpit (got {mode!r})")


async def _close(_: Connection) -> None:
    raise Refused(RejectReason.IP_BLOCKED)


async def _reset(connection: Connection) -> None:
    connection.abort()
    raise Refused(RejectReason.IP_BLOCKED)


class _Tarpit(CarriesState):
    """Keeps connections waiting, up to a number of them."""

    def __init__(self, seconds: float, most: int) -> None:
        self.terms = (seconds, most)
        self.room = TarpitRoom(most)

    def carry_over(self, former: object) -> None:
        """Connections that wait since before a reload take up room, too."""
        if isinstance(former, _Tarpit) and former.terms == self.terms:
            self.room = former.room

    async def __call__(self, connection: Connection) -> None:
        room = self.room
        if room.left:
            room.left -= 1
            try:
                await connection.wait(self.terms[0])
            finally:
                room.left += 1
        raise Refused(RejectReason.IP_BLOCKED)
