"""TCP keep-alive, brought to a socket: whether the kernel probes a silent peer, when, and how often.

Each option costs half a microsecond a connection, so none is set that a socket has already: those of a
listening socket are inherited by what it accepts, and what equals the system's own (tcp(7): the sysctls
``net.ipv4.tcp_keepalive_time``, ``_intvl`` and ``_probes``) a new socket has by itself. What is left is worked
out once and then given to each::

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

#: The options of :class:`~smartproxy.model.plan.Probes`, in its order. macOS calls the first one otherwise.
_IDLE = getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", 0))
_PROBES = (_IDLE, getattr(socket, "TCP_KEEPINTVL", 0), getattr(socket, "TCP_KEEPCNT", 0))

#: What a socket has that nobody has given anything.
NONE = KeepAlive(enabled=False, probes=Probes(0, 0, 0))


class Option(NamedTuple):
    """One ``setsockopt``."""

    level: int
    name: int
    value: int


@lru_cache(maxsize=1024)
def options(wanted: KeepAlive, has: KeepAlive = NONE) -> tuple[Option, ...]:
    """What makes ``wanted`` of a socket that ``has`` something already.

    The probes come first: set on a socket that has keep-alive, they would start its timer anew.
    """
    pairs = zip(_PROBES, _filled(wanted.probes), _filled(has.probes), strict=True)
    needed = [Option(socket.IPPROTO_TCP, name, value) for name, value, old in pairs if name and value != old]
    if wanted.enabled is not has.enabled:
        needed.append(Option(socket.SOL_SOCKET, socket.SO_KEEPALIVE, wanted.enabled))
    return tuple(needed)


def apply_keepalive(transport: Any, needed: tuple[Option, ...]) -> None:
    """Set ``needed`` on a transport's socket. One without a socket is told only whether."""
    handle = transport.getHandle() if hasattr(transport, "getHandle") else None
    if isinstance(handle, socket.socket):
        apply_keepalive_to_socket(handle, needed)
        return
    for option in needed:
        if option.name == socket.SO_KEEPALIVE and option.level == socket.SOL_SOCKET:
            transport.setTcpKeepAlive(bool(option.value))


def apply_keepalive_to_socket(sock: socket.socket, needed: tuple[Option, ...]) -> None:
    """The same for a socket."""
    for level, name, value in needed:
        sock.setsockopt(level, name, value)


def differ(one: KeepAlive, other: KeepAlive) -> bool:
    """Whether a socket of the one has other options than one of the other."""
    return one.enabled is not other.enabled or one.probes != other.probes


def _filled(probes: Probes) -> Iterator[int]:
    """With the system's own for what is left to it."""
    return (value or own for value, own in zip(probes, _system(), strict=True))


@cache
def _system() -> Probes:
    """What a new socket has."""
    with socket.socket() as fresh:
        return Probes(*(fresh.getsockopt(socket.IPPROTO_TCP, name) if name else 0 for name in _PROBES))
