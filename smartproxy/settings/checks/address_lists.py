"""Problems of address lists that are in files: a file that cannot be read, or has a line that is no entry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.errors import InvalidAddressFile
from smartproxy.security.address_set import AddressSet
from smartproxy.settings.checks.problems import Problem
from smartproxy.settings.tables.rules import ADDRESS_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.settings.compile.address_lists import ListedAddresses
    from smartproxy.settings.reading.locations import KeyPath
    from smartproxy.settings.tables.root import Configuration
    from smartproxy.settings.tables.route import Security


def problems(settings: Configuration, addresses: ListedAddresses) -> Iterator[Problem]:
    """What makes files of addresses unusable. Those of disabled routes are not looked at."""
    for path, entry in _files(settings):
        try:
            addresses.file(entry)
        except InvalidAddressFile as invalid:
            for problem in invalid.problems:
                yield Problem(path, problem)


def warnings(settings: Configuration, addresses: ListedAddresses) -> Iterator[Problem]:
    """Files that are empty: an allow list of them accepts nobody, and other lists have no effect."""
    for path, entry in _files(settings):
        file = addresses.file(entry)
        if isinstance(file.current, AddressSet) and not len(file.current):
            effect = "an empty allow list accepts nobody" if "ipAllowList" in path else "it has no effect yet"
            yield Problem(path, f"{file.path} has no address: {effect}")


def _files(settings: Configuration) -> Iterator[tuple[KeyPath, str]]:
    yield from _of_list(settings.proxy_ips, ("proxyIPs",))
    yield from _of_security(settings.defaults.security, ("defaults", "security"))
    for index, route in enumerate(settings.routes):
        if route.enabled:
            yield from _of_list(route.match.client_ip, ("routes", index, "match", "clientIp"))
            yield from _of_security(route.security, ("routes", index, "security"))


def _of_security(security: Security, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    yield from _of_list(security.ip_allow_list, (*path, "ipAllowList"))
    yield from _of_list(security.ip_block_list, (*path, "ipBlockList"))


def _of_list(entries: list[str], path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    for index, entry in enumerate(entries):
        if entry.startswith(ADDRESS_FILE):
            yield (*path, index), entry
