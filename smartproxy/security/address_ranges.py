"""Address lists as ranges of numbers, to compare one list with another: which covers which, and what both have.

An :class:`~smartproxy.security.address_set.AddressSet` answers for one address; these functions answer for whole lists, when
a configuration is checked.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final, TypeAlias

from smartproxy.security.address_set import networks_of

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Disjoint address ranges in ascending order: IP version, first address, last address.
Ranges: TypeAlias = tuple[tuple[int, int, int], ...]

#: Not below any address.
_HIGHEST: Final = 2**128
#: Every address of a family.
ALL_IPV4: Final[Ranges] = ((4, 0, 2**32 - 1),)
ALL_IPV6: Final[Ranges] = ((6, 0, _HIGHEST - 1),)


def ranges_of(entries: Iterable[str]) -> Ranges:
    """The ranges of an address list; overlapping and adjacent ones are merged.

    :raises ValueError: where an entry is neither an address, a network nor a range.
    """
    networks = {network for entry in entries for network in networks_of(entry)}
    found = sorted((n.version, int(n.network_address), int(n.broadcast_address)) for n in networks)
    merged: list[tuple[int, int, int]] = []
    for version, first, last in found:
        if merged and merged[-1][0] == version and first <= merged[-1][2] + 1:
            merged[-1] = (version, merged[-1][1], max(last, merged[-1][2]))
        else:
            merged.append((version, first, last))
    return tuple(merged)


def covers(wide: Ranges, narrow: Ranges) -> bool:
    """Whether ``wide`` has every address of ``narrow``."""
    for version, first, last in narrow:
        index = bisect_right(wide, (version, first, _HIGHEST))
        if not index or wide[index - 1][0] != version or wide[index - 1][2] < last:
            return False
    return True


def overlap(one: Ranges, other: Ranges) -> bool:
    """Whether there is an address in both."""
    for version, first, last in one:
        index = bisect_right(other, (version, last, _HIGHEST))
        if index and other[index - 1][0] == version and other[index - 1][2] >= first:
            return True
    return False
