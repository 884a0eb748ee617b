"""Whether an address is one of this machine: a connection to it comes to a listener of this machine."""

from __future__ import annotations

import socket

from smartproxy.wire.host import is_address, is_loopback, normalise_address

#: A connection to one of them goes to the loopback address (ip(7); RFC 4291, 2.5.2 forbids the second, Linux has it).
WILDCARDS = frozenset({"0.0.0.0", "::"})


def is_own_address(host: str) -> bool:
    """Whether ``host``, an IP address or ``localhost``, is this machine. A name is not resolved.

    The kernel lets a socket be bound to the addresses of the machine only, so it is asked by binding one.
    """
    if is_loopback(host) or host in WILDCARDS:
        return True
    if not is_address(host):
        return False
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True


def reaches(host: str, listening: str) -> bool:
    """Whether a connection to ``host`` comes to a listener of this machine on the address ``listening``.

    :param host: an IP address or ``localhost``.
    :param listening: an IP address, or ``""`` for every address.
    """
    if not is_own_address(host):
        return False
    if not listening or listening in WILDCARDS:
        return True  # an IPv4 address and a listener on :: alike: it accepts both
    if host in WILDCARDS or not is_address(host):
        return is_loopback(listening)
    return normalise_address(host) == normalise_address(listening)
