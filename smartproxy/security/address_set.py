"""Sets of IP addresses, checked once or twice for every connection::

    office = AddressSet(["192.0.2.0/24", "198.51.100.7", "2001:db8::10-2001:db8::1f"])
    "192.0.2.1" in office               # True
    "::ffff:192.0.2.1" in office        # True: the same address, RFC 4291, 2.5.5.2

Networks are stored as integers, one table for each prefix length that occurs. So a check costs one shift and one
look-up for each prefix length, and not for each network: about a microsecond with 50,000 networks. A range is split
into networks when the set is built. Single hosts are also stored as text, so that most checks of them need no
parsing; an address in another spelling is found in the tables.

Edge cases:

- ``10.1.2.3/8`` is ``10.0.0.0/8``: host bits are masked, as HAProxy does.
- ``::ffff:10.0.0.0/104`` is ``10.0.0.0/8``, but ``::/0`` contains every IPv6 address and no IPv4 one, because
  whoever blocks ``::/0`` means IPv6.
- An entry with a zone (``fe80::1%eth0``) is refused; the zone of a checked address is ignored.
"""

from __future__ import annotations

from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
    summarize_address_range,
)
from typing import TYPE_CHECKING, TypeAlias

from smartproxy.wire.host import IPV4_SIZE, packed_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

#: For each prefix length that occurs: how far to shift an address, and the prefixes of that length.
Tables: TypeAlias = tuple[tuple[int, frozenset[int]], ...]

_MAPPED_LENGTH = 96  # bits before the IPv4 address in a mapped one

#: Most networks that the text of a set lists.
_SHOWN = 5


class AddressSet:
    """An immutable set of IP addresses.

    :param entries: IPs, CIDRs and ``a-b`` ranges (both ends included), v4 and v6. Surrounding blanks are ignored.
    :raises ValueError: where an entry is none of these; the message quotes it.
    """

    __slots__ = ("_entries", "_hosts", "_networks", "_v4", "_v6")

    def __init__(self, entries: Iterable[str]) -> None:
        #: Each network with the entry that it is of, as written.
        self._entries = {network: entry.strip() for entry in entries for network in networks_of(entry)}
        networks = self._networks = frozenset(self._entries)
        self._hosts = frozenset(
            str(network.network_address) for network in networks if network.prefixlen == network.max_prefixlen
        )
        self._v4 = _tables(network for network in networks if isinstance(network, IPv4Network))
        self._v6 = _tables(network for network in networks if isinstance(network, IPv6Network))

    def __contains__(self, address: object) -> bool:
        """Whether the address is in the set. False for anything that is not an IP address."""
        if not isinstance(address, str):
            return False
        return address in self._hosts or self._found(address) is not None

    def _found(self, address: str) -> tuple[bytes, int] | None:
        """``address`` as bytes, and how many of its last bits the narrowest network with it leaves open."""
        try:
            packed = packed_address(address)
        except ValueError:
            return None
        number = int.from_bytes(packed)
        tables = self._v4 if len(packed) == IPV4_SIZE else self._v6
        for shift, prefixes in tables:
            if number >> shift in prefixes:
                return packed, shift
        return None

    def entry(self, address: str) -> str | None:
        """The entry with the narrowest network that has ``address``, as written; ``None`` where it is not in the set."""
        found = self._found(address)
        if found is None:
            return None
        packed, shift = found
        return self._entries[ip_network((packed, len(packed) * 8 - shift), strict=False)]

    def __len__(self) -> int:
        """The number of distinct networks, with single hosts, and with ranges split into networks."""
        return len(self._networks)

    def __eq__(self, other: object) -> bool:
        return self._networks == other._networks if isinstance(other, AddressSet) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._networks)

    def __str__(self) -> str:
        """The first few networks, and the number of the others."""
        ordered = sorted(self._networks, key=lambda network: (network.version, int(network.network_address)))
        more = f" and {len(self) - _SHOWN} more" if len(self) > _SHOWN else ""
        return ", ".join(map(_written, ordered[:_SHOWN])) + more

    def __repr__(self) -> str:
        return f"<AddressSet of {len(self)} networks>"


def _written(network: Network) -> str:
    return str(network.network_address if network.prefixlen == network.max_prefixlen else network)


def networks_of(entry: str) -> Iterator[Network]:
    """The networks of one entry of a list; IPv4-mapped ones as IPv4.

    :raises ValueError: as :class:`AddressSet` does.
    """
    first, dash, last = (part.strip() for part in entry.partition("-"))
    try:
        if dash:
            return _range(first, last)
        return iter((_network(first),))
    except ValueError as problem:
        raise ValueError(f"{entry!r} is not an IP address, a CIDR or a range a-b: {problem}") from None


def _range(first: str, last: str) -> Iterator[Network]:
    low, high = _address(first), _address(last)
    if low.version != high.version:
        raise ValueError("both ends must be of the same family")
    if int(low) > int(high):
        raise ValueError("the end must not be below the beginning")
    return summarize_address_range(low, high)


def _network(text: str) -> Network:
    address, slash, length = text.partition("/")
    if not slash:
        return ip_network(_address(address))
    _refuse_zone(address)
    bits = ip_address(address).max_prefixlen
    # Only a decimal length: ipaddress would also take netmasks and, silently, their inverse.
    if not (length.isascii() and length.isdigit() and int(length) <= bits):
        raise ValueError(f"the prefix length must be 0..{bits}")
    return _unmapped(ip_network(text, strict=False))


def _address(text: str) -> Address:
    _refuse_zone(text)
    address = ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _refuse_zone(text: str) -> None:
    if "%" in text:
        raise ValueError("an address with a zone is not allowed")


def _unmapped(network: Network) -> Network:
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is None:
        return network
    # ipv4_mapped requires the 16 bits before the IPv4 address to be set; in a network address with its host bits
    # masked they are only where the prefix has at least 96 bits.
    return IPv4Network((mapped, network.prefixlen - _MAPPED_LENGTH))


def _tables(networks: Iterable[Network]) -> Tables:
    """One table for each prefix length, the longest prefix first."""
    by_shift: dict[int, set[int]] = {}
    for network in networks:
        shift = network.max_prefixlen - network.prefixlen
        by_shift.setdefault(shift, set()).add(int(network.network_address) >> shift)
    return tuple((shift, frozenset(by_shift[shift])) for shift in sorted(by_shift))
