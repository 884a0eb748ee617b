"""Addresses of peers: a host and a port.

A dual-stack socket shows an IPv4 peer as ``::ffff:192.0.2.1``. Here it becomes ``192.0.2.1``, as
:mod:`smartproxy.wire.host` spells it everywhere.
"""

from __future__ import annotations

from typing import NamedTuple

from smartproxy.wire.host import unmapped


class Endpoint(NamedTuple):
    """One end of a TCP connection. ``host`` is a normalised IP address."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def endpoint(sockaddr: tuple[str, int] | tuple[str, int, int, int]) -> Endpoint:
    """The endpoint for a socket address that ``accept`` or ``getsockname`` returned."""
    return Endpoint(unmapped(sockaddr[0]), sockaddr[1])
