"""Turning connections away: closed, reset, or left hanging."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from smartproxy.errors import Refused
from smartproxy.model.outcome import RejectReason

if TYPE_CHECKING:
    from smartproxy.serving.connection import Connection, Serve

#: Seconds in a tarpit: what HAProxy's ``timeout tarpit`` is commonly set to.
TARPIT_SECONDS = 60.0
#: Connections in one tarpit. It is to cost those who are turned away, and not us: a descriptor and some KiB each.
TARPIT_MOST = 200


def block(
    mode: Literal["close", "reset", "tarpit"] = "close",
    *,
    seconds: float = TARPIT_SECONDS,
    most: int = TARPIT_MOST,
) -> Serve:
    """Turn everybody away. In each mode it is counted as a rejection, ``ip_blocked``.

    ``close`` says so in TLS and HTTP (an alert, a 403); ``reset`` sends a RST; ``tarpit`` says nothing and reads
    nothing, and closes at last.

    :param seconds: in the tarpit. :param most: in it at once; whoever comes then is closed at once.
    :raises ValueError: for another mode.
    """
    if mode == "close":
        return _close
    if mode == "reset":
        return _reset
    if mode == "tarpit":
        return _Tarpit(seconds, most)
    raise ValueError(f"a mode is close, reset or tarpit (got {mode!r})")


async def _close(_: Connection) -> None:
    raise Refused(RejectReason.IP_BLOCKED)


async def _reset(connection: Connection) -> None:
    connection.abort()
    raise Refused(RejectReason.IP_BLOCKED)


class _Tarpit:
    """Lets them wait."""

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
