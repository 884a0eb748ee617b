"""Listening sockets that a service manager has bound and passed on: sd_listen_fds(3).

::

    activated = ActivatedSockets.of(started_with())
    activated.take("::", 443)       # the sockets for this address, none where the manager has bound none

A socket is recognised by its address, not by its name: in ``LISTEN_FDNAMES`` names are separated by colons, so a name cannot
be that of a listener (``:443``). Several sockets may have one address (``ReusePort=yes``).

Some were stored by this proxy before it was started again (:mod:`smartproxy.proxy.notify`). Their names say so, and those that
no listener wants any more are closed: their ports would accept connections that are never served.
"""

from __future__ import annotations

import os
import socket
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.logger import Logger

from smartproxy.model.address import Endpoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: SD_LISTEN_FDS_START: the first descriptor that is passed.
_FIRST = 3
_EVERY_ADDRESS = frozenset({"::", "0.0.0.0"})

log = Logger()


class ActivatedSockets:
    """Sockets by their addresses. Those of a socket unit that are not taken stay open: a reload may need them.

    :param sockets: each with its name.
    :ivar stored: the names of those that this proxy has stored, of which the service manager still has copies.
    """

    def __init__(self, sockets: Iterable[tuple[socket.socket, str]] = ()) -> None:
        self._by_address: dict[tuple[str, int], list[socket.socket]] = {}
        self._of_units: set[tuple[str, int]] = set()
        self.stored: set[str] = set()
        for opened, name in sockets:
            host, number = opened.getsockname()[:2]
            self._by_address.setdefault((host, number), []).append(opened)
            if name in _stored_names(host, number):
                self.stored.add(name)
            else:
                self._of_units.add((host, number))

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> ActivatedSockets:
        """Those that were passed to the process that was started with this environment, if it is this one."""
        process, count = (environment.get(name, "") for name in ("LISTEN_PID", "LISTEN_FDS"))
        if process != str(os.getpid()) or not count.isdecimal():
            return cls()
        found = map(_listening, range(_FIRST, _FIRST + int(count)))
        names = environment.get("LISTEN_FDNAMES", "").split(":")
        named = zip(found, chain(names, repeat("")), strict=False)  # a name each, where there are names
        return cls((opened, name) for opened, name in named if opened is not None)

    def take(self, interface: str, number: int) -> list[socket.socket]:
        """The sockets that are bound to this address. The caller closes them."""
        return self._by_address.pop((interface, number), [])

    def end_unused(self) -> None:
        """Close stored sockets that no listener has taken, and log which ones of socket units none has."""
        for host, number in list(self._by_address):
            if (host, number) in self._of_units:
                log.warn(
                    "no route has a use for the socket {address} of systemd", address=Endpoint(host, number)
                )
                continue
            for opened in self.take(host, number):
                opened.close()


def stored_name(listener: str) -> str:
    """The name under which the socket of a listener is stored."""
    return listener.replace(":", "_")


def _stored_names(host: str, number: int) -> set[str]:
    """The names under which a socket may have been stored: a listener on every address has none in its name."""
    hosts = {host, ""} if host in _EVERY_ADDRESS else {host}
    return {stored_name(f"{one}:{number}") for one in hosts}


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
