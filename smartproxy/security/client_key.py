"""Which client a limit counts an address for: itself, or the IPv6 network that one client has (``ipv6LimitPrefix``).

A site gets at least a /64, so one client may have 2**64 addresses (RFC 6177). Where each address has a limit of its own, such a
client has none. An IPv4-mapped address is an IPv4 address here, as it is everywhere.
"""

from __future__ import annotations

from typing import Final

from smartproxy.wire.host import address_text, packed_address

#: Bits of an IPv6 address: with a prefix of this length each address is a client of its own.
ADDRESS: Final = 128


def client_key(ip: str, prefix: int) -> str:
    """``2001:db8::/64`` for an IPv6 address and a ``prefix`` of 64; an IPv4 address, and any with 128, unchanged.

    :param ip: normalised as in :mod:`smartproxy.wire.host`.
    """
    if prefix == ADDRESS or ":" not in ip:
        return ip
    host_bits = ADDRESS - prefix
    network = int.from_bytes(packed_address(ip)) >> host_bits << host_bits
    return f"{address_text(network.to_bytes(ADDRESS // 8))}/{prefix}"
