"""Addresses of peers: a host and a port, or the path of a unix socket.

A dual-stack socket shows an IPv4 peer as ``::ffff:192.0.2.1``. Here it becomes ``192.0.2.1``, as
:mod:`smartproxy.wire.host` spells it everywhere.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from smartproxy.wire.host import unmapped


class Endpoint(NamedTuple):
    """One end of a TCP connection. ``host`` is a normalised IP address."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class UnixEndpoint(NamedTuple):
    """The unix socket of a target.

    :ivar path: absolute, or ``@`` and a name for one in Linux's abstract namespace (unix(7)).
    """

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"

    @property
    def sockaddr(self) -> str:
        """The address as the kernel reads it: an abstract one begins with a zero byte."""
        return "\0" + self.path[1:] if self.path.startswith("@") else self.path


#: Where a target is connected to.
TargetAddress: TypeAlias = Endpoint | UnixEndpoint


def endpoint(sockaddr: tuple[str, int] | tuple[str, int, int, int]) -> Endpoint:
    """The endpoint for a socket address that ``accept`` or ``getsockname`` returned."""
    return Endpoint(unmapped(sockaddr[0]), sockaddr[1])
