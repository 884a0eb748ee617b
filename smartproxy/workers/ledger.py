"""What worker processes tell each other of their clients: how many connections each has, and when it connected.

::

    writer = LedgerWriter(memory, row)          of this process
    writer.count("192.0.2.1", 3)                the address has three connections in this process now
    writer.arrived("192.0.2.1", now, 3)         the same, and it has connected now

    reader = LedgerReader(memory, row, windows)     of the other processes
    reader.sync()                               read what they have written since the last call
    reader.clients.of_client("192.0.2.1")       how many connections that client has in the other processes

Each process appends events to a ring of its own, and the others read it before each check and once a second. An event
has the absolute number of connections of one address, so reading one twice does no harm, and one that was not read
is corrected by the next event of the address. The number of events that a process has written is published behind
each. A reader copies what is new and then reads that number again: where the ring holds fewer events than were to be
read, some of them were overwritten, and the reader starts again with that row. So it does where the row has another process.

Beside the ring is a table of the live clients of the process. To start, a reader notes how many events there are, reads the
table, and goes on with the events behind: whatever changed while it read the table is among them. So no live client is
forgotten, however long ago its event was, and a process that starts knows all of them. To repeat old clients in the ring
would do the same for twice the events, and only within the time of a whole round.

Times of connections are in the ring only. A process that starts reads all that are there; those of a minute are, up to
2,184 connections admitted a second by each process (half as many where the number per client is limited, too).
A reader that was overrun forgets the times that it has missed, and no others. The times of a process that has ended stay in
the ring of its row, so the next process of that row reads its own ring, too.

IPv6 networks are told apart by the reader, because its configuration may differ from that of the writer during a reload.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import TYPE_CHECKING, Final, Protocol

from smartproxy.connections.client_counts import ClientCounts
from smartproxy.wire.host import address_text, pack_as_ipv6, packed_address
from smartproxy.workers.memory import ENTRY, EVENT

if TYPE_CHECKING:
    from smartproxy.workers.memory import LimitsMemory, Row

#: Of an event: the address, monotonic seconds, the number of its connections, and what has happened.
_EVENT: Final = Struct("=16sdII")
#: Of a table of clients: the address and the number of its connections, 0 in an entry that is free.
_ENTRY: Final = Struct("=16sq")
assert (_EVENT.size, _ENTRY.size) == (EVENT, ENTRY)  # noqa: S101 - as the memory is divided

#: What has happened: only the number has changed; it has connected; its connection was refused, and does not count.
_COUNTED, _ARRIVED, _WITHDRAWN = 0, 1, 2

#: Addresses whose other form is remembered. To convert one takes as long as all the rest of an event.
_REMEMBERED: Final = 1 << 14


class ArrivalTimes(Protocol):
    """When clients connected: :class:`~smartproxy.security.limits.RateWindows`."""

    def record(self, ip: str, at: float) -> None: ...

    def withdraw(self, ip: str, at: float) -> None: ...


@lru_cache(_REMEMBERED)
def _packed(ip: str) -> bytes:
    return pack_as_ipv6(packed_address(ip))


_text = lru_cache(_REMEMBERED)(address_text)


class LedgerWriter:
    """The events and the table of one process.

    :ivar numbers: what was written last, by address; no address has 0.
    """

    def __init__(self, memory: LimitsMemory, row: Row) -> None:
        self.numbers: dict[str, int] = {}
        self._row = row.number
        self._heads = memory.heads
        self._heights = memory.heights
        self._ring = memory.ring(row.number)
        self._table = memory.table(row.number)
        self._fence = memory.fence
        self._mask = memory.events - 1
        self._head = memory.heads[row.number]  # the events of former processes count, too
        #: The entry of each address, and the free ones below the highest that was used.
        self._entries: dict[str, int] = {}
        self._free: list[int] = []
        self._height = 0
        self._most = memory.clients

    def count(self, ip: str, number: int) -> None:
        """``ip`` has ``number`` connections. Nothing is written where that was written last."""
        if self.numbers.get(ip, 0) != number:
            self._append(ip, 0.0, number, _COUNTED)

    def arrived(self, ip: str, at: float, number: int) -> None:
        """``ip`` has connected; it has ``number`` connections.

        :param at: monotonic seconds.
        """
        self._append(ip, at, number, _ARRIVED)

    def withdrawn(self, ip: str, at: float, number: int) -> None:
        """The connection that was written with the same time was refused; ``ip`` has ``number`` connections."""
        self._append(ip, at, number, _WITHDRAWN)

    def _append(self, ip: str, at: float, number: int, kind: int) -> None:
        packed = _packed(ip)
        if number != self.numbers.get(ip, 0):
            self._write_entry(ip, packed, number)
        head = self._head
        _EVENT.pack_into(self._ring, (head & self._mask) * EVENT, packed, at, number, kind)
        # The entry and the event come before the number that publishes them.
        self._fence()
        self._head = self._heads[self._row] = head + 1

    def _write_entry(self, ip: str, packed: bytes, number: int) -> None:
        entry = self._entries.get(ip)
        if number:
            self.numbers[ip] = number
            entry = self._new_entry(ip) if entry is None else entry
        else:
            del self.numbers[ip]
            if entry is not None:
                del self._entries[ip]
                self._free.append(entry)
        if entry is not None:
            _ENTRY.pack_into(self._table, entry * ENTRY, packed, number)

    def _new_entry(self, ip: str) -> int | None:
        """An entry for ``ip``; ``None`` where the table is full, which it cannot be by default."""
        if self._free:
            entry = self._free.pop()
        elif self._height < self._most:
            entry = self._height
            _ENTRY.pack_into(self._table, entry * ENTRY, bytes(16), 0)
            self._height = self._heights[self._row] = entry + 1
        else:
            return None
        self._entries[ip] = entry
        return entry


class LedgerReader:
    """What the other processes have written. To be made before this process writes.

    :param windows: gets the times at which clients connected to them.
    :ivar clients: the connections of each client in all other processes.
    :ivar reloads: how often a row was read from its table: at the start, for another process, and when events were missed.
    """

    def __init__(self, memory: LimitsMemory, row: Row, windows: ArrivalTimes) -> None:
        self.clients = ClientCounts()
        self.reloads = 0
        self._memory = memory
        self._windows = windows
        self._heads = memory.heads
        self._fence = memory.fence
        #: The same numbers when they were last read. No row has been read yet.
        self._seen: list[int] = []
        rows = memory.rows
        self._others = [_OtherRow(number, memory) for number in range(rows) if number != row.number]
        self._rows = rows
        self._own = row.number
        #: What former processes have written in this row, until it was read.
        self._former: _OtherRow | None = _OtherRow(row.number, memory)
        self._former_head = memory.heads[row.number]
        self._kept = memory.events - 1  # one may just be overwritten

    def sync(self) -> None:
        """Read what is new."""
        seen = self._heads.tolist()
        seen[self._own] = 0  # of no interest
        if seen == self._seen:
            return
        self._seen = seen
        if self._former is not None:
            self._read(self._former, self._former_head, counts=False)
            self._former = None
        for other in self._others:
            head, generation = seen[other.number], seen[self._rows + other.number]
            is_same = generation == other.generation
            if head == other.position and is_same:
                continue
            if not is_same or not self._read(other, head, counts=True):
                self._reload(other, generation)

    def _read(self, other: _OtherRow, head: int, *, counts: bool) -> bool:
        """Read the events of a row before ``head``. Returns whether they were all there.

        :param counts: whether to use their numbers, and not only the times.
        """
        first = max(other.position, head - self._kept)
        events = other.events(first, head)
        self._fence()
        kept_from = self._heads[other.number] - self._kept
        is_whole = other.position >= kept_from
        other.position = head
        numbers = other.numbers
        for packed, at, number, kind in events if first >= kept_from else events[kept_from - first :]:
            if kind == _ARRIVED:
                self._windows.record(_text(packed), at)
            elif kind == _WITHDRAWN:
                self._windows.withdraw(_text(packed), at)
            if counts and number != numbers.get(packed, 0):
                self._count(numbers, packed, number)
        return is_whole

    def _reload(self, other: _OtherRow, generation: int) -> None:
        """Read the remaining events of a row for their times, and its numbers from its table."""
        self.reloads += 1
        other.generation = generation
        head = self._heads[other.number]
        self._fence()
        self._read(other, head, counts=False)
        present = dict(other.entries()) if generation else {}
        for packed in other.numbers.keys() - present.keys():
            self._count(other.numbers, packed, 0)
        for packed, number in present.items():
            self._count(other.numbers, packed, number)
        # What has changed meanwhile is behind ``head``, and is read by the next call.
        self._seen = []

    def _count(self, numbers: dict[bytes, int], packed: bytes, number: int) -> None:
        """An address has ``number`` connections in the process that ``numbers`` are of."""
        change = number - numbers.get(packed, 0)
        if number:
            numbers[packed] = number
        else:
            numbers.pop(packed, None)
        ip = _text(packed)
        if change == 1:  # nearly always one more or one less
            self.clients.add(ip)
        elif change == -1:
            self.clients.remove(ip)
        else:
            self._count_many(ip, change)

    def _count_many(self, ip: str, change: int) -> None:
        count = self.clients.add if change > 0 else self.clients.remove
        for _ in range(abs(change)):
            count(ip)


class _OtherRow:
    """What is known of the row of another process.

    :ivar generation: the process; 0 where there was none, as before the first reading.
    :ivar position: the number of its events that were read.
    :ivar numbers: of its connections, by packed address; no address has 0.
    """

    __slots__ = ("_heights", "_mask", "_ring", "_table", "generation", "number", "numbers", "position")

    def __init__(self, number: int, memory: LimitsMemory) -> None:
        self.number = number
        self.generation = -1
        self.position = 0
        self.numbers: dict[bytes, int] = {}
        self._heights = memory.heights
        self._ring = memory.ring(number)
        self._table = memory.table(number)
        self._mask = memory.events - 1

    def events(self, first: int, behind: int) -> list[tuple[bytes, float, int, int]]:
        """The events from ``first`` on, as they are in the ring now."""
        start, end = first & self._mask, behind & self._mask
        if behind - first == 1:
            return [_EVENT.unpack_from(self._ring, start * EVENT)]
        if start < end:
            return list(_EVENT.iter_unpack(self._ring[start * EVENT : end * EVENT]))
        if first == behind:
            return []
        # Around the end of the ring.
        parts = self._ring[start * EVENT :], self._ring[: end * EVENT]
        return [event for part in parts for event in _EVENT.iter_unpack(part)]

    def entries(self) -> list[tuple[bytes, int]]:
        """The live clients of its process, each with the number of its connections."""
        table = bytes(self._table[: self._heights[self.number] * ENTRY])
        return [(packed, number) for packed, number in _ENTRY.iter_unpack(table) if number]
