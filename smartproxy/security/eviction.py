"""Choosing what is closed to make room: the oldest entry of the address that holds most.

So a flood from one address evicts its own entries, and those of other addresses are kept. Where every address has one
entry, the oldest of all is evicted.
"""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class EvictionQueue(Generic[T]):
    """Entries in the order in which they were added, and by the address that they belong to.

    Every method takes constant time, so that a flood does not make it slower: addresses are kept by the number of their
    entries, and that number changes by one at a time.
    """

    __slots__ = ("_addresses", "_by_address", "_by_count", "_most")

    def __init__(self) -> None:
        self._addresses: dict[T, str] = {}
        self._by_address: dict[str, dict[T, None]] = {}
        self._by_count: dict[int, dict[str, None]] = {}
        self._most = 0

    def __len__(self) -> int:
        """The number of entries."""
        return len(self._addresses)

    def add(self, entry: T, address: str) -> None:
        """Append ``entry``, which belongs to ``address``."""
        self._addresses[entry] = address
        entries = self._by_address.setdefault(address, {})
        entries[entry] = None
        self._recount(address, len(entries) - 1, len(entries))

    def remove(self, entry: T) -> str | None:
        """Remove ``entry`` and return its address; ``None`` where it is not in the queue (any more)."""
        address = self._addresses.pop(entry, None)
        if address is None:
            return None
        entries = self._by_address[address]
        del entries[entry]
        self._recount(address, len(entries) + 1, len(entries))
        if not entries:
            del self._by_address[address]
        return address

    def oldest(self) -> T | None:
        """The entry that was added first, of any address."""
        return next(iter(self._addresses), None)

    def evict(self) -> T | None:
        """Remove and return the oldest entry of the address that has most entries; ``None`` where there is none."""
        if not self._most:
            return None
        address = next(iter(self._by_count[self._most]))
        entry = next(iter(self._by_address[address]))
        self.remove(entry)
        return entry

    def _recount(self, address: str, before: int, now: int) -> None:
        if before:
            addresses = self._by_count[before]
            del addresses[address]
            if not addresses:
                del self._by_count[before]
        if now:
            self._by_count.setdefault(now, {})[address] = None
        if now > self._most or self._most not in self._by_count:
            self._most = now
