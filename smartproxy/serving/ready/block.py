"""Blocking every connection of a route: closed, reset, or kept waiting (tarpit)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from smartproxy.errors import Refused
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


class _Tarpit:
    """Keeps connections waiting, up to a number of them."""

    def __init__(self, seconds: float, most: int) -> None:
        self._seconds = seconds
        self._room = most

    async def __call__(self, connection: Connection) -> None:
        if self._room:
            self._room -= 1
            try:
                await connection.wait(self._seconds)
            finally:
                self._room += 1
        raise Refused(RejectReason.IP_BLOCKED)
