"""Which entry is evicted to make room."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.security.eviction import EvictionQueue


class EvictionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.queue: EvictionQueue[str] = EvictionQueue()

    def add(self, *entries: str) -> None:
        """The first letter is the address."""
        for entry in entries:
            self.queue.add(entry, entry[0])

    def evicted(self) -> list[str]:
        """All of them, in the order of their eviction."""
        order = []
        while (entry := self.queue.evict()) is not None:
            order.append(entry)
        return order

    def test_empty_queue_has_nothing_to_evict(self) -> None:
        self.assertEqual((self.queue.evict(), self.queue.oldest(), len(self.queue)), (None, None, 0))

    def test_oldest_of_the_address_with_most_is_evicted(self) -> None:
        self.add("a1", "b1", "b2", "b3", "c1", "c2")
        self.assertEqual([self.queue.evict(), self.queue.evict()], ["b1", "c1"])
        self.assertEqual(len(self.queue), 4)

    def test_oldest_of_all_is_evicted_where_each_address_has_one(self) -> None:
        self.add("a1", "b1", "c1")
        self.assertEqual(self.evicted(), ["a1", "b1", "c1"])

    def test_removed_entries_do_not_count(self) -> None:
        self.add("a1", "a2", "a3", "b1", "b2")
        self.assertEqual(
            [self.queue.remove(entry) for entry in ("a1", "a3", "a3", "x1")], ["a", "a", None, None]
        )
        self.assertEqual(self.evicted(), ["b1", "a2", "b2"])

    def test_oldest_of_all_is_known_whatever_was_removed(self) -> None:
        self.add("a1", "b1", "a2")
        self.queue.remove("a1")
        self.assertEqual(self.queue.oldest(), "b1")

    def test_emptied_queue_keeps_nothing_of_its_addresses(self) -> None:
        """Else a million clients would leave a million keys."""
        self.add(*(f"{address}{number}" for address in "abc" for number in range(5)))
        self.evicted()
        kept = [getattr(self.queue, name) for name in EvictionQueue.__slots__]
        self.assertEqual(kept, [{}, {}, {}, 0])

    def test_every_order_of_changes_evicts_as_a_slow_search_would(self) -> None:
        """Against the definition, over a long mixed sequence."""
        number = 7
        entries: list[str] = []
        for turn in range(2000):
            number = number * 16807 % 2147483647
            if entries and number % 5 < 2:
                entry = entries[number % len(entries)]
                entries.remove(entry)
                self.queue.remove(entry)
            else:
                entries.append(f"{'abcde'[number % 5]}{turn}")
                self.add(entries[-1])
            if number % 11 == 0 and entries:
                counts = {entry[0]: sum(other[0] == entry[0] for other in entries) for entry in entries}
                evicted = self.queue.evict()
                assert evicted is not None
                self.assertEqual(counts[evicted[0]], max(counts.values()))
                self.assertEqual(evicted, next(entry for entry in entries if entry[0] == evicted[0]))
                entries.remove(evicted)
            self.assertEqual(len(self.queue), len(entries))
