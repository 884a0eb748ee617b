"""Listening sockets that a service manager has bound and passed on: sd_listen_fds(3).

::

    activated = ActivatedSockets.of(started_with())
    activated.take("::", 443)       # the sockets for this address, none where the manager has bound none

A socket is recognised by its address, not by its name: in ``LISTEN_FDNAMES`` names are separated by colons, so a name cannot
be that of a listener (``:443``). Several sockets may have one address (``ReusePort=yes``).
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.logger import Logger

from smartproxy.model.address import Endpoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: SD_LISTEN_FDS_START: the first descriptor that is passed.
_FIRST = 3

log = Logger()


class ActivatedSockets:
    """Sockets by their addresses. Those that are not taken stay open: a reload may need them."""

    def __init__(self, sockets: Iterable[socket.socket] = ()) -> None:
        self._by_address: dict[tuple[str, int], list[socket.socket]] = {}
        for opened in sockets:
            host, number = opened.getsockname()[:2]
            self._by_address.setdefault((host, number), []).append(opened)

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> ActivatedSockets:
        """Those that were passed to the process that was started with this environment, if it is this one."""
        process, count = (environment.get(name, "") for name in ("LISTEN_PID", "LISTEN_FDS"))
        if process != str(os.getpid()) or not count.isdecimal():
            return cls()
        return cls(filter(None, map(_listening, range(_FIRST, _FIRST + int(count)))))

    def take(self, interface: str, number: int) -> list[socket.socket]:
        """The sockets that are bound to this address. The caller closes them."""
        return self._by_address.pop((interface, number), [])

    def report_unused(self) -> None:
        """Log which sockets no listener has taken."""
        for host, number in self._by_address:
            log.warn("no route has a use for the socket {address} of systemd", address=Endpoint(host, number))


def started_with() -> dict[str, str]:
    """The environment that this process was started with.

    Twisted removes the variables of sd_listen_fds(3) from ``os.environ`` as soon as its endpoints are imported.
    """
    try:
        content = Path("/proc/self/environ").read_bytes()
    except OSError:
        return dict(os.environ)
    pairs = (each.partition(b"=") for each in content.split(b"\0"))
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


def _listening(descriptor: int) -> socket.socket | None:
    """The TCP socket with this number, if it is one that listens."""
    try:
        os.set_inheritable(descriptor, False)
        opened = socket.socket(fileno=descriptor)
    except OSError:
        opened = None
    if opened is not None and _is_tcp(opened):
        opened.setblocking(False)
        return opened
    log.warn("descriptor {number} of systemd is no listening TCP socket", number=descriptor)
    if opened is not None:
        opened.close()
    return None


def _is_tcp(opened: socket.socket) -> bool:
    listens = opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    return bool(listens) and opened.family in {socket.AF_INET, socket.AF_INET6}
