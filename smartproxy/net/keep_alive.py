"""When the kernel gives up on a silent peer of a socket: TCP keep-alive and the user timeout.

Keep-alive says whether an idle peer is probed, when, and how often. The user timeout (tcp(7), ``TCP_USER_TIMEOUT``) limits
how long sent data may stay unacknowledged; without it the kernel retransmits for about 15 minutes.

Each option costs half a microsecond for each connection, so none is set that a socket has already: accepted sockets
inherit those of the listening socket, and a new socket has the system's defaults (tcp(7): the sysctls
``net.ipv4.tcp_keepalive_time``, ``_intvl`` and ``_probes``). The remaining options are computed once and applied to each::

    needed = options(route.keep_alive)
    apply_keepalive(transport, needed)

A dialled socket inherits none, and most connections end before a probe could be due. So those of dialled sockets are set a moment
later, on those that are still open: :class:`YoungSockets`.
"""

from __future__ import annotations

import contextlib
import socket
from dataclasses import replace
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from smartproxy.model.plan import KeepAlive, Probes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: The options of :class:`~smartproxy.model.plan.Probes`, in its order. macOS has another name for the first.
_IDLE = getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", 0))
_PROBES = (_IDLE, getattr(socket, "TCP_KEEPINTVL", 0), getattr(socket, "TCP_KEEPCNT", 0))

#: Linux only.
_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", 0)

#: The keep-alive of a new socket.
NONE = KeepAlive(enabled=False, probes=Probes(0, 0, 0))


class Option(NamedTuple):
    """One ``setsockopt``."""

    level: int
    name: int
    value: int


@lru_cache(maxsize=1024)
def options(wanted: KeepAlive, has: KeepAlive = NONE) -> tuple[Option, ...]:
    """The options that change a socket from ``has`` to ``wanted``.

    The probes come first: setting them on a socket with keep-alive would restart its timer.
    """
    pairs = [
        *zip(_PROBES, _filled(wanted.probes), _filled(has.probes), strict=True),
        (_USER_TIMEOUT, wanted.user_timeout, has.user_timeout),
    ]
    needed = [Option(socket.IPPROTO_TCP, name, value) for name, value, old in pairs if name and value != old]
    if wanted.enabled is not has.enabled:
        needed.append(Option(socket.SOL_SOCKET, socket.SO_KEEPALIVE, wanted.enabled))
    return tuple(needed)


def apply_keepalive(transport: Any, needed: tuple[Option, ...]) -> None:
    """Set ``needed`` on a transport's socket. A transport without a socket only has keep-alive switched."""
    handle = _socket_of(transport)
    if handle is not None:
        apply_keepalive_to_socket(handle, needed)
        return
    for option in needed:
        if option.name == socket.SO_KEEPALIVE and option.level == socket.SOL_SOCKET:
            transport.setTcpKeepAlive(bool(option.value))


def _socket_of(transport: Any) -> socket.SocketType | None:
    handle = transport.getHandle() if hasattr(transport, "getHandle") else None
    return handle if isinstance(handle, socket.SocketType) else None


class YoungSockets:
    """Sockets that were connected just now, and get their options when they have lived for a moment.

    :param call_later: of :class:`~smartproxy.flow.deadline.Deadlines`, whose next sweep is that moment.
    """

    def __init__(self, call_later: Callable[[float, Callable[[], object]], object]) -> None:
        self._call_later = call_later
        self._young: list[tuple[socket.SocketType, tuple[Option, ...]]] = []

    def add(self, transport: Any, needed: tuple[Option, ...]) -> None:
        """As :func:`apply_keepalive`, but later."""
        sock = _socket_of(transport)
        if sock is None:
            apply_keepalive(transport, needed)
            return
        if not self._young:
            self._call_later(0.0, self._set)
        self._young.append((sock, needed))

    def _set(self) -> None:
        young, self._young = self._young, []
        for sock, needed in young:
            if sock.fileno() >= 0:  # it was not closed
                with contextlib.suppress(OSError):  # it was reset
                    apply_keepalive_to_socket(sock, needed)


def apply_keepalive_to_socket(sock: socket.SocketType, needed: tuple[Option, ...]) -> None:
    """Set ``needed`` on a socket."""
    for level, name, value in needed:
        sock.setsockopt(level, name, value)


def without_probes(wanted: KeepAlive) -> KeepAlive:
    """For a new socket: ``wanted`` without options that have no effect because keep-alive is not enabled."""
    return wanted if wanted.enabled else replace(wanted, probes=NONE.probes)


def differ(one: KeepAlive, other: KeepAlive) -> bool:
    """Whether sockets of the two have different options."""
    return (
        one.enabled is not other.enabled
        or one.probes != other.probes
        or one.user_timeout != other.user_timeout
    )


def _filled(probes: Probes) -> Iterator[int]:
    """``probes`` with the system's defaults in place of zeros."""
    return (value or own for value, own in zip(probes, _system(), strict=True))


@cache
def _system() -> Probes:
    """The probes of a new socket."""
    with socket.socket() as fresh:
        return Probes(*(fresh.getsockopt(socket.IPPROTO_TCP, name) if name else 0 for name in _PROBES))
