"""Ports for programs that cannot listen on port 0, for tests and benchmarks: no other process that asks here is given the same.

A port that is found free, given back and used a moment later may be taken by another test in between. So each
process claims a block of ports first and takes from that block alone. The claim is a name in the abstract
namespace of Unix sockets (unix(7)): exactly one socket can be bound to it, it belongs to the same network
namespace as the ports (network_namespaces(7)), and the kernel drops it when the process ends, however it ends.
"""

from __future__ import annotations

import itertools
import socket
from functools import cache

#: Below those that the kernel gives to outgoing connections (ip_local_port_range: 32768 and up by default).
_LOWEST, _HIGHEST = 11000, 32000
#: Ports of one process. A test needs at most ten at a time, so one is used again after twenty tests at the earliest.
_BLOCK = 200


def free_ports(count: int) -> list[int]:
    """So many ports of this process's block on which nobody listens, on any address.

    :raises AssertionError: where the block does not have so many.
    """
    found: list[int] = []
    for port in itertools.islice(_candidates(), _BLOCK):
        if len(found) == count:
            break
        if _is_free(port):
            found.append(port)
    assert len(found) == count, f"only {len(found)} of {count} ports are free"
    return found


def _is_free(port: int) -> bool:
    # One after the other: a socket bound to all of IPv6 has IPv4, too.
    try:
        with socket.socket(socket.AF_INET6) as wide:
            wide.bind(("::", port))
        with socket.socket() as narrow:
            narrow.bind(("0.0.0.0", port))
    except OSError:
        return False
    return True


@cache
def _candidates() -> itertools.cycle[int]:
    """The ports of the block in turn, and again: one that was given back stays unused for as long as possible."""
    first = next(first for first in range(_LOWEST, _HIGHEST, _BLOCK) if _claim(first))
    return itertools.cycle(range(first, first + _BLOCK))


#: The sockets that are bound to the claimed names. They live as long as the process.
_claims: list[socket.socket] = []


def _claim(first: int) -> bool:
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0smartproxy-tests-ports-{first}")
    except OSError:
        claim.close()
        return False
    _claims.append(claim)
    return True
