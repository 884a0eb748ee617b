"""The memory that worker processes share for limits.

::

    memory = LimitsMemory.create(rows=8)        the supervisor, once; its descriptor is inherited by fork or exec
    row = memory.claim()                        the supervisor, for each process that it starts
    memory = LimitsMemory.attach(descriptor)    a process that was exec'd; one that was forked has the mapping already
    memory.forget(row)                          the supervisor, when the process has ended

A row belongs to one process from its start to its end, a *generation*: a process that replaces another one runs beside it
for as long as the old one drains. Each word has a single writer, the process of its row, so nothing is locked but the
assignment of columns (:mod:`smartproxy.workers.cells`); the supervisor writes rows only before their process has started
and after it has ended, and never waits for a lock.

The memory is an anonymous file, whose pages exist when they are first written: sizes are generous, and cost nothing.
Words are aligned and have 64 bits, so each is read and written as a whole.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import resource
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Bytes of a word; of the digest of a column's name; of an entry in a table of clients; of an event.
WORD: Final = 8
NAME: Final = 16
ENTRY: Final = 24
EVENT: Final = 32
#: Limited routes and targets, of all configurations whose connections live. 4 MiB for eight rows, were all used.
_COLUMNS: Final = 1 << 16
#: Events that can be read again: 18 minutes of 120 a second, one minute of 2,184. 4 MiB a row.
_EVENTS: Final = 1 << 17
#: Live clients of one process at most, where its number of descriptors does not bound them.
_MOST_CLIENTS: Final = 1 << 18
_HEADER: Final = 4096
_MAGIC: Final = 0x534D_5032  # another number after each change of the layout
#: Words of the header: the magic number, rows, columns, clients, events, and the last generation that was given.
_GEOMETRY, _LAST_GENERATION = slice(0, 5), 5


class Row(NamedTuple):
    """The row of a process.

    :ivar number: from 0.
    :ivar generation: from 1; never used twice.
    """

    number: int
    generation: int


class LimitsMemory:
    """Words, events and clients by row.

    :param descriptor: of the file; closed by :meth:`close`.
    :ivar rows: how many processes may run at once, those that drain included.
    :ivar columns: how many quantities are counted in :attr:`cells`.
    :ivar clients: how many live clients of a process fit into its table.
    :ivar events: how many events of a process are kept: a power of 2.
    :ivar cells: the numbers: those of all rows for one column, then those of the next.
    :ivar names: the digest of each column's name.
    :ivar used: for each row, a byte for each column: 1 while its process uses it.
    :ivar heads: of each row, how many events were written, by all of its generations; then of each row, its generation:
        0 while it is free.
    :ivar heights: of each row, how many entries of its table were used at once.
    :ivar fence: orders what was written before the call before what is read after it. Tests replace it.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._map = mmap.mmap(descriptor, os.fstat(descriptor).st_size)
        whole = memoryview(self._map)
        self._header = whole[:_HEADER].cast("q")
        magic, self.rows, self.columns, self.clients, self.events = self._header[_GEOMETRY]
        if magic != _MAGIC:
            raise ValueError(
                "the descriptor is not of a memory for limits, or of another version of smartproxy"
            )
        places = _places(self.rows, self.columns, self.clients, self.events)
        words, names, used, tables, rings = (whole[start:end] for start, end in places)
        shared = words.cast("q")
        self.heads = shared[: 2 * self.rows]
        self.heights = shared[2 * self.rows : 3 * self.rows]
        self.cells = shared[3 * self.rows :]
        self.names, self.used, self._tables, self._rings = names, used, tables, rings
        self._generations = self.heads[self.rows :]
        self.fence = _made_fence()

    @classmethod
    def create(
        cls, rows: int, *, columns: int = _COLUMNS, clients: int = 0, events: int = _EVENTS
    ) -> LimitsMemory:
        """An empty memory. Its descriptor is closed on exec unless it is passed on.

        :param clients: 0 is as many as a process may open descriptors.
        :raises ValueError: where ``events`` is not a power of 2.
        """
        if events & (events - 1) or events < 2:  # noqa: PLR2004 - the least power
            raise ValueError("events must be a power of 2")
        clients = clients or _most_clients()
        descriptor = os.memfd_create("smartproxy-limits", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, _places(rows, columns, clients, events)[-1][1])
        header = memoryview(bytearray(WORD * 5)).cast("q")
        for place, number in enumerate((_MAGIC, rows, columns, clients, events)):
            header[place] = number
        os.pwrite(descriptor, header, 0)
        return cls(descriptor)

    @classmethod
    def attach(cls, descriptor: int) -> LimitsMemory:
        """The memory of an inherited descriptor.

        :raises ValueError: where it is none.
        """
        return cls(descriptor)

    def fileno(self) -> int:
        """The descriptor, to be inherited."""
        return self._descriptor

    def claim(self) -> Row:
        """A row for a process that is about to start. Only the supervisor calls it.

        :raises RuntimeError: where every row has a process.
        """
        for number, generation in enumerate(self._generations):
            if not generation:
                self._header[_LAST_GENERATION] += 1
                self._generations[number] = self._header[_LAST_GENERATION]
                return Row(number, self._header[_LAST_GENERATION])
        raise RuntimeError(f"all {self.rows} rows of the memory for limits are in use")

    def forget(self, row: Row) -> None:
        """Count nothing of a process any more: it has ended. Only the supervisor calls it; the second call does nothing."""
        number = row.number
        if self._generations[number] != row.generation:
            return
        used = self.used_by(number)
        columns = _set_flags(bytes(used))
        for column in (0, *columns):
            self.cells[column * self.rows + number] = 0
        self.heights[number] = 0
        self.fence()
        # After the numbers: whoever sees an unused column may use it, and a free row has an empty table.
        for column in columns:
            used[column] = 0
        self._generations[number] = 0

    def used_by(self, row: int) -> memoryview[int]:
        """For each column a byte that is 1 while the process of ``row`` uses it."""
        return self.used[row * self.columns : (row + 1) * self.columns]

    def table(self, row: int) -> memoryview[int]:
        """The table of the live clients of a row."""
        size = self.clients * ENTRY
        return self._tables[row * size : (row + 1) * size]

    def ring(self, row: int) -> memoryview[int]:
        """The events of a row."""
        size = self.events * EVENT
        return self._rings[row * size : (row + 1) * size]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """No other process is in here. The kernel releases the lock of a process that dies."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the descriptor. The mapping ends with the process, or when nothing refers to it."""
        os.close(self._descriptor)


def _made_fence() -> Callable[[], None]:
    """A full memory barrier.

    A processor may delay a write behind a later read, x86 included: two processes that count first and read then could each
    miss the other's count. A lock that is released and then acquired is what Python has of a barrier: both are atomic
    operations, and a release is not moved behind the acquire that follows it. Another process is not involved.
    """
    lock = threading.Lock()
    lock.acquire()
    release, acquire = lock.release, lock.acquire

    def fence() -> None:
        release()
        acquire()

    return fence


def _set_flags(flags: bytes) -> list[int]:
    """The places of the ones."""
    found, place = [], flags.find(1)
    while place >= 0:
        found.append(place)
        place = flags.find(1, place + 1)
    return found


def _most_clients() -> int:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return _MOST_CLIENTS if limit == resource.RLIM_INFINITY else min(limit, _MOST_CLIENTS)


def _places(rows: int, columns: int, clients: int, events: int) -> list[tuple[int, int]]:
    """Where each part begins and ends: words, names, bytes of use, tables, events. Each begins with a page."""
    sizes = (
        (3 + columns) * rows * WORD,
        columns * NAME,
        rows * columns,
        rows * clients * ENTRY,
        rows * events * EVENT,
    )
    places = []
    start = _HEADER
    for size in sizes:
        places.append((start, start + size))
        start += -(-size // _HEADER) * _HEADER
    return places
