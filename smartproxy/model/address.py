"""Addresses of peers: a host and a port, with one spelling for one address.

A dual-stack socket shows an IPv4 peer as ``::ffff:192.0.2.1`` (RFC 4291, 2.5.5.2). Everything behind this
module sees ``192.0.2.1``, so that a limit, a list or a log line never knows two names for one client.
"""

from __future__ import annotations

from ipaddress import ip_address
from socket import AF_INET, AF_INET6, inet_pton
from typing import NamedTuple

_MAPPED = "::ffff:"


class Endpoint(NamedTuple):
    """One end of a TCP connection. ``host`` is a normalised IP address."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def unmapped(host: str) -> str:
    """``192.0.2.1`` for ``::ffff:192.0.2.1``; every other host as the kernel spells it, without its zone."""
    if ":" not in host:
        return host
    if host.startswith(_MAPPED) and "." in host:
        return host[len(_MAPPED) :]
    return host.partition("%")[0]


def endpoint(sockaddr: tuple[str, int] | tuple[str, int, int, int]) -> Endpoint:
    """The end that ``accept`` or ``getsockname`` named."""
    return Endpoint(unmapped(sockaddr[0]), sockaddr[1])


def is_address(host: str) -> bool:
    """Whether ``host`` is an IP address, as ``inet_pton`` reads one."""
    try:
        inet_pton(AF_INET6 if ":" in host else AF_INET, host)
    except (OSError, ValueError):
        return False
    return True


def normalised(text: str) -> str:
    """The one spelling of an address that somebody wrote by hand.

    :raises ValueError: where ``text`` is no IP address.
    """
    address = ip_address(text)
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
