"""Warnings about address lists: networks with host bits, trust in everyone, and lists that refuse every client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smartproxy.security.address_ranges import ALL_IPV4, ALL_IPV6, covers, overlap, ranges_of
from smartproxy.security.address_set import networks_of
from smartproxy.settings.checks.problems import Problem, got
from smartproxy.settings.compile.levels import security_levels, setting_level
from smartproxy.settings.tables.base import file_key, inherited
from smartproxy.settings.tables.rules import ADDRESS_FILE
from smartproxy.wire.host import normalise_address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.security.address_ranges import Ranges
    from smartproxy.settings.reading.locations import KeyPath
    from smartproxy.settings.tables.root import Configuration
    from smartproxy.settings.tables.route import Match

#: Addresses of listeners that accept IPv4 and IPv6.
_DUAL_STACK: Final = frozenset({"", "::"})


def warnings(settings: Configuration) -> Iterator[Problem]:
    """Everything about address lists."""
    for path, entries in _lists(settings):
        for index, entry in enumerate(entries):
            yield from _host_bits(entry, (*path, index))
    yield from _trusts_everyone(settings)
    yield from _everyone_refused(settings)


def _lists(settings: Configuration) -> Iterator[tuple[KeyPath, list[str]]]:
    """Every address list of the configuration, with its path."""
    yield ("proxyIPs",), settings.proxy_ips
    tables = [
        (("defaults",), settings.defaults),
        *((("routes", i), one) for i, one in enumerate(settings.routes)),
    ]
    for path, table in tables:
        for name in ("ip_allow_list", "ip_block_list"):
            yield (*path, "security", file_key(name)), getattr(table.security, name)
    for index, route in enumerate(settings.routes):
        yield ("routes", index, "match", "clientIp"), route.match.client_ip


def _host_bits(entry: str, path: KeyPath) -> Iterator[Problem]:
    address, slash, _length = entry.strip().partition("/")
    if not slash or entry.startswith(ADDRESS_FILE):
        return
    network, own = next(networks_of(entry)), normalise_address(address)
    if own != str(network.network_address):
        yield Problem(
            path,
            f"is read as {network}, because host bits are set; write that, or {own} for one address {got(entry)}",
        )


def _trusts_everyone(settings: Configuration) -> Iterator[Problem]:
    """``proxyIPs`` with every address of a family: also as halves that add up to it."""
    if settings.accept_proxy_protocol is False:
        return
    trusted = ranges_of(entry for entry in settings.proxy_ips if not entry.startswith(ADDRESS_FILE))
    every = [name for name, all_ in (("IPv4", ALL_IPV4), ("IPv6", ALL_IPV6)) if covers(trusted, all_)]
    if every:
        yield Problem(
            ("proxyIPs",),
            f"has every {' and every '.join(every)} address: any client may claim another client's address with a PROXY "
            "header; list only the proxies in front of this one",
        )


def _everyone_refused(settings: Configuration) -> Iterator[Problem]:
    """Lists of a route that together refuse every client. Lists of ``defaults`` are shared, and compared once."""
    known: dict[int, Ranges] = {}

    def ranges(entries: list[str]) -> Ranges:
        if id(entries) not in known:
            # What a file contains may change, so nothing is said of a list with one.
            in_files = any(entry.startswith(ADDRESS_FILE) for entry in entries)
            known[id(entries)] = () if in_files else ranges_of(entries)
        return known[id(entries)]

    said: set[tuple[KeyPath, str]] = set()
    for index, route in enumerate(settings.routes):
        if not route.enabled:
            continue
        levels = security_levels(settings, index)
        tables = [level.table for level in levels]
        allow, block = (inherited(name, *tables) for name in ("ip_allow_list", "ip_block_list"))
        found = [*_contradictions(ranges(allow), ranges(block), ranges(route.match.client_ip))]
        if _DUAL_STACK & {*_addresses(route.match)}:
            found += _ipv4_only(ranges(allow))
        for name, problem in found:
            level = setting_level(name, levels)
            path = (*(level.path if level is not None else ()), file_key(name))
            if (path, problem) not in said:
                said.add((path, problem))
                yield Problem(path, problem)


def _addresses(match: Match) -> list[str]:
    return match.address if isinstance(match.address, list) else [match.address]


def _ipv4_only(allow: Ranges) -> Iterator[tuple[str, str]]:
    if covers(allow, ALL_IPV4) and not overlap(allow, ALL_IPV6):
        yield (
            "ip_allow_list",
            "has every IPv4 address and no IPv6 one: IPv6 clients are refused; leave it out to accept everyone",
        )


def _contradictions(allow: Ranges, block: Ranges, clients: Ranges) -> Iterator[tuple[str, str]]:
    """What is contradictory, each with the name of the list to change. An empty list is everyone."""
    if block and covers(block, ALL_IPV4) and covers(block, ALL_IPV6):
        yield "ip_block_list", "has every address: every client is refused"
    elif allow and block and covers(block, allow):
        yield "ip_block_list", "has every address of ipAllowList, and wins over it: every client is refused"
    elif clients and block and covers(block, clients):
        yield "ip_block_list", "has every address of match.clientIp: every client of the route is refused"
    elif clients and allow and not overlap(allow, clients):
        yield "ip_allow_list", "has no address of match.clientIp: every client of the route is refused"
