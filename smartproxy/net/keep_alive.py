"""TCP keep-alive of a socket: whether the kernel probes a silent peer, when, and how often.

Each option costs half a microsecond for each connection, so none is set that a socket has already: accepted sockets
inherit those of the listening socket, and a new socket has the system's defaults (tcp(7): the sysctls
``net.ipv4.tcp_keepalive_time``, ``_intvl`` and ``_probes``). The remaining options are computed once and applied to each::

    needed = options(route.keep_alive)
    apply_keepalive(transport, needed)
"""

from __future__ import annotations

import socket
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from smartproxy.model.plan import KeepAlive, Probes

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The options of :class:`~smartproxy.model.plan.Probes`, in its order. macOS has another name for the first.
_IDLE = getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", 0))
_PROBES = (_IDLE, getattr(socket, "TCP_KEEPINTVL", 0), getattr(socket, "TCP_KEEPCNT", 0))

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
    pairs = zip(_PROBES, _filled(wanted.probes), _filled(has.probes), strict=True)
    needed = [Option(socket.IPPROTO_TCP, name, value) for name, value, old in pairs if name and value != old]
    if wanted.enabled is not has.enabled:
        needed.append(Option(socket.SOL_SOCKET, socket.SO_KEEPALIVE, wanted.enabled))
    return tuple(needed)


def apply_keepalive(transport: Any, needed: tuple[Option, ...]) -> None:
    """Set ``needed`` on a transport's socket. A transport without a socket only has keep-alive switched."""
    handle = transport.getHandle() if hasattr(transport, "getHandle") else None
    if isinstance(handle, socket.socket):
        apply_keepalive_to_socket(handle, needed)
        return
    for option in needed:
        if option.name == socket.SO_KEEPALIVE and option.level == socket.SOL_SOCKET:
            transport.setTcpKeepAlive(bool(option.value))


def apply_keepalive_to_socket(sock: socket.socket, needed: tuple[Option, ...]) -> None:
    """Set ``needed`` on a socket."""
    for level, name, value in needed:
        sock.setsockopt(level, name, value)


def differ(one: KeepAlive, other: KeepAlive) -> bool:
    """Whether sockets of the two have different options."""
    return one.enabled is not other.enabled or one.probes != other.probes


def _filled(probes: Probes) -> Iterator[int]:
    """``probes`` with the system's defaults in place of zeros."""
    return (value or own for value, own in zip(probes, _system(), strict=True))


@cache
def _system() -> Probes:
    """The probes of a new socket."""
    with socket.socket() as fresh:
        return Probes(*(fresh.getsockopt(socket.IPPROTO_TCP, name) if name else 0 for name in _PROBES))
