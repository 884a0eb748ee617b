"""The ledger: what one process writes of its clients, the others know, whenever they read it and whatever was lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.security.limits import RateWindows
from smartproxy.workers.ledger import LedgerReader, LedgerWriter
from tests.workers.small import small_memory

if TYPE_CHECKING:
    from smartproxy.workers.memory import LimitsMemory, Row

IPS = ("192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")


class LedgerCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 100.0
        self.use(small_memory())

    def use(self, memory: LimitsMemory) -> None:
        self.memory = memory
        self.addCleanup(memory.close)
        self.row, own = memory.claim(), memory.claim()
        self.writer = LedgerWriter(memory, self.row)
        self.reader = self.read_as(own)
        self.own = own

    def read_as(self, row: Row) -> LedgerReader:
        self.windows = RateWindows(lambda: self.now)
        return LedgerReader(self.memory, row, self.windows)

    def numbers(self, reader: LedgerReader | None = None) -> dict[str, int]:
        reader = reader or self.reader
        reader.sync()
        reader.sync()  # after a reload, what was written meanwhile
        return reader.clients.by_ip


class LedgerNumbersTests(LedgerCase):
    def test_numbers_of_other_processes_are_added_up(self) -> None:
        third = LedgerWriter(self.memory, self.memory.claim())
        self.writer.count("192.0.2.1", 2)
        third.count("192.0.2.1", 3)
        third.count("2001:db8::1", 1)
        self.assertEqual(self.numbers(), {"192.0.2.1": 5, "2001:db8::1": 1})
        self.writer.count("192.0.2.1", 1)
        third.count("2001:db8::1", 0)
        self.assertEqual(self.numbers(), {"192.0.2.1": 4})

    def test_the_own_row_is_not_read(self) -> None:
        LedgerWriter(self.memory, self.own).count("192.0.2.1", 1)
        self.assertEqual(self.numbers(), {})

    def test_the_same_number_is_written_once(self) -> None:
        """Events that say nothing new would push others out of the ring."""
        for _ in range(100):
            self.writer.count("192.0.2.1", 1)
        self.writer.count("192.0.2.2", 0)
        self.assertEqual(self.memory.heads[self.row.number], 1)

    def test_networks_are_told_apart_by_the_reader(self) -> None:
        self.writer.count("2001:db8::1", 1)
        self.writer.count("2001:db8::2", 2)
        self.numbers()
        self.assertEqual(self.reader.clients.of_client("2001:db8::3"), 0)
        self.reader.clients.regroup(64)
        self.assertEqual(self.reader.clients.of_client("2001:db8::3"), 3)
        self.writer.count("2001:db8::2", 0)
        self.numbers()
        self.assertEqual(self.reader.clients.of_client("2001:db8::3"), 1)

    def test_new_process_knows_clients_whose_events_were_overwritten(self) -> None:
        """Connections that live for a day still count for their client when a worker is replaced."""
        self.writer.count("192.0.2.1", 2)
        for number in range(1, 200):
            self.writer.count("192.0.2.2", number)
        self.assertEqual(self.numbers(), {"192.0.2.1": 2, "192.0.2.2": 199})

    def test_overrun_reader_reads_the_table(self) -> None:
        """It was blocked for longer than the ring lasts."""
        self.writer.count("192.0.2.1", 2)
        self.writer.count("192.0.2.9", 1)
        self.numbers()
        loads = self.reader.reloads
        self.writer.count("192.0.2.9", 0)
        for number in range(1, 30):
            self.writer.count("192.0.2.2", number)
        self.assertEqual(self.numbers(), {"192.0.2.1": 2, "192.0.2.2": 29})
        self.assertEqual(self.reader.reloads, loads + 1)

    def test_the_whole_ring_but_one_event_can_be_read(self) -> None:
        """The event behind the last may just be overwritten, so as many are never trusted."""
        self.numbers()
        loads = self.reader.reloads
        for events, more in ((15, 0), (16, 1)):
            for _ in range(events):
                self.writer.arrived("192.0.2.1", self.now, 1)
            self.numbers()
            self.assertEqual(self.reader.reloads, loads + more)

    def test_events_overwritten_while_they_are_read_are_not_used(self) -> None:
        self.numbers()
        self.writer.count("192.0.2.1", 1)
        original = self.memory.fence

        def overtake() -> None:
            self.reader._fence = original
            for number in range(2, 40):
                self.writer.count("192.0.2.1", number)

        self.reader._fence = overtake
        self.assertEqual(self.numbers(), {"192.0.2.1": 39})

    def test_what_changes_while_the_table_is_read_is_read_behind_it(self) -> None:
        for ip in IPS:
            self.writer.count(ip, 1)
        original = self.memory.fence

        def change() -> None:
            self.reader._fence = original
            self.writer.count(IPS[0], 0)
            self.writer.count(IPS[1], 5)

        self.reader._fence = change
        self.assertEqual(self.numbers(), {IPS[1]: 5, **dict.fromkeys(IPS[2:], 1)})

    def test_clients_of_a_dead_process_are_removed(self) -> None:
        self.writer.count("192.0.2.1", 2)
        self.numbers()
        self.memory.forget(self.row)
        self.assertEqual(self.numbers(), {})

    def test_next_process_of_a_row_does_not_inherit_numbers(self) -> None:
        """The reader may not have looked between the end of the one and the start of the other."""
        self.writer.count("192.0.2.1", 2)
        self.numbers()
        self.writer.count("192.0.2.2", 1)
        self.memory.forget(self.row)
        following = self.memory.claim()
        self.assertEqual(following.number, self.row.number)
        LedgerWriter(self.memory, following).count("192.0.2.3", 1)
        self.assertEqual(self.numbers(), {"192.0.2.3": 1})

    def test_clients_beyond_the_table_are_counted_by_their_events(self) -> None:
        """By default the table has room for as many clients as a process may have descriptors."""
        self.numbers()
        ips = [f"192.0.2.{number}" for number in range(12)]
        for ip in ips:
            self.writer.count(ip, 1)
        self.assertEqual(self.numbers(), dict.fromkeys(ips, 1))
        for ip in ips:
            self.writer.count(ip, 0)
        self.assertEqual(self.numbers(), {})
        self.writer.count("192.0.2.99", 1)
        self.assertEqual(self.numbers(self.read_as(self.own)), {"192.0.2.99": 1})

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["write", "read", "new", "die"]), st.sampled_from(IPS), st.integers(0, 3)
            ),
            max_size=120,
        )
    )
    def test_whenever_it_is_read_it_is_what_was_written(self, steps) -> None:
        memory = small_memory()
        self.use(memory)
        for what, ip, number in steps:
            if what == "write":
                self.writer.count(ip, number)
            elif what == "new":
                self.assertEqual(self.numbers(self.read_as(self.own)), self.writer.numbers)
            elif what == "die":
                memory.forget(self.row)
                self.row = memory.claim()
                self.writer = LedgerWriter(memory, self.row)
            else:
                self.assertEqual(self.numbers(), self.writer.numbers)


class ArrivalTests(LedgerCase):
    def has_room(self, ip: str, limit: int) -> bool:
        return self.windows.has_room(ip, limit, self.now)

    def test_arrivals_are_recorded_with_their_time(self) -> None:
        self.writer.arrived("192.0.2.1", self.now - 59, 0)
        self.writer.arrived("192.0.2.1", self.now, 0)
        self.numbers()
        self.assertEqual([self.has_room("192.0.2.1", limit) for limit in (2, 3)], [False, True])
        self.now += 1
        self.assertTrue(self.has_room("192.0.2.1", 2), "the first is 60 seconds old")

    def test_withdrawn_arrivals_do_not_count(self) -> None:
        self.writer.arrived("192.0.2.1", self.now, 0)
        self.numbers()
        self.writer.withdrawn("192.0.2.1", self.now, 0)
        self.numbers()
        self.assertTrue(self.has_room("192.0.2.1", 1))

    def test_arrival_of_a_dead_process_still_counts(self) -> None:
        """A client must not gain by a crash. Its connections are closed, the times are what they are."""
        self.writer.arrived("192.0.2.1", self.now, 1)
        self.memory.forget(self.row)
        LedgerWriter(self.memory, self.memory.claim()).arrived("192.0.2.1", self.now, 1)
        self.assertEqual(self.numbers(), {"192.0.2.1": 1})
        self.assertFalse(self.has_room("192.0.2.1", 2))

    def test_next_process_of_a_row_knows_the_times_of_the_former(self) -> None:
        """It gets the row of the process that it replaces, and does not read what it writes itself."""
        self.writer.arrived("192.0.2.1", self.now, 1)
        self.memory.forget(self.row)
        following = self.memory.claim()
        self.assertEqual(following.number, self.row.number)
        reader, writer = self.read_as(following), LedgerWriter(self.memory, following)
        writer.arrived("192.0.2.1", self.now, 1)
        self.assertEqual(self.numbers(reader), {})
        self.assertEqual([self.has_room("192.0.2.1", limit) for limit in (1, 2)], [False, True])

    def test_new_process_reads_the_times_that_are_there(self) -> None:
        for _ in range(40):
            self.writer.arrived("192.0.2.1", self.now, 0)
        self.numbers(self.read_as(self.own))
        self.assertEqual([self.has_room("192.0.2.1", limit) for limit in (15, 16)], [False, True])

    def test_overrun_reader_keeps_the_times_it_has(self) -> None:
        for _ in range(10):
            self.writer.arrived("192.0.2.1", self.now, 0)
        self.numbers()
        for _ in range(20):
            self.writer.arrived("192.0.2.1", self.now, 0)
        self.numbers()
        self.assertEqual([self.has_room("192.0.2.1", limit) for limit in (25, 26)], [False, True])
