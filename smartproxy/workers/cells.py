"""Numbers that all worker processes add to, each of them limited: live connections of the proxy, of a route, of a target.

::

    cells = Cells(memory, row)
    cells.live.claim(own + 1, limit)            count one more connection, unless all processes then have more than limit
    cells.of(("route", "web")).set(own)         after a connection has ended

Each process writes how many *it* has into a cell of its own. A limit is compared with the sum of a column, which is read
in one go. *Count first, then check*: a process writes its cell and then reads the others; where the sum is too high, it
writes the former number. Of two that claim the last place at once, the later one of the two writes is seen by at least one
of the reads. To check first admits both. Both may be refused, though: the next attempt gets the place.

Numbers are absolute, so nothing can be given back twice or be lost: whatever was claimed and not used is corrected by the
next number that is written.

A column belongs to a name. Any process assigns one when it first needs it, under a lock of the file: targets are found
by each process for itself. So the table of names is a hash table with open addressing. A name stays until another one
needs its column, and that takes it only where no live process uses it.
"""

from __future__ import annotations

from array import array
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, TypeAlias

from twisted.logger import Logger

from smartproxy.workers.memory import NAME

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.workers.memory import LimitsMemory, Row

log = Logger()

#: What a column counts: ``("route", name)`` or ``("target", group, name)``.
ColumnName: TypeAlias = "tuple[str, ...]"

#: The column of all live connections. It has no name.
_LIVE: Final = 0


class Cell:
    """The number of one process for one quantity, and those of the others.

    :param column: the numbers of all processes.
    :param row: the place of this process in it.
    :param fence: see :class:`~smartproxy.workers.memory.LimitsMemory`.
    """

    __slots__ = ("_column", "_fence", "_row")

    def __init__(self, column: memoryview[int], row: int, fence: Callable[[], None]) -> None:
        self._column = column
        self._row = row
        self._fence = fence

    def set(self, number: int) -> None:
        """Count ``number`` for this process."""
        self._column[self._row] = number

    def claim(self, number: int, limit: int) -> bool:
        """Set ``number``, which is one more than before, unless all processes then have more than ``limit``.

        :param limit: 0 is none.
        :return: whether it was set.
        """
        self._column[self._row] = number
        self._fence()
        if not limit or sum(self._column) <= limit:
            return True
        self._column[self._row] = number - 1
        return False

    def total(self) -> int:
        """The number of all processes."""
        return sum(self._column)

    def others(self) -> int:
        """The number of the other processes."""
        return sum(self._column) - self._column[self._row]


class Cells:
    """The cells of one process.

    :ivar live: number of its live connections.
    """

    def __init__(self, memory: LimitsMemory, row: Row) -> None:
        self._memory = memory
        self._row = row.number
        self._used = memory.used_by(row.number)
        self._cells: dict[ColumnName, tuple[int | None, Cell]] = {}
        self.live = self._cell(_LIVE)

    def of(self, name: ColumnName) -> Cell:
        """The cell of a name. It is the same in all processes until none of them uses it any more.

        Where every column is used, the cell is one of this process alone.
        """
        found = self._cells.get(name)
        if found is None:
            column = self._assigned(_digest(name))
            if column is None:
                log.warn(
                    "{name}: its limit is one of each worker: more than {columns} have one",
                    name="/".join(name[1:]),
                    columns=self._memory.columns - 1,
                )
                found = None, Cell(memoryview(array("q", (0,))), 0, self._memory.fence)
            else:
                found = column, self._cell(column)
            self._cells[name] = found
        return found[1]

    def release(self, name: ColumnName) -> None:
        """Count nothing for ``name`` any more. Does nothing where :meth:`of` was not called for it."""
        column, cell = self._cells.pop(name, (None, None))
        if column is not None and cell is not None:
            cell.set(0)
            self._memory.fence()
            self._used[column] = 0

    def _cell(self, column: int) -> Cell:
        rows = self._memory.rows
        numbers = self._memory.cells[column * rows : (column + 1) * rows]
        return Cell(numbers, self._row, self._memory.fence)

    def _assigned(self, digest: bytes) -> int | None:
        """The column of a name, which this process uses from now on."""
        with self._memory.locked():
            column = self._find(digest)
            if column is not None:
                self._used[column] = 1
                self._memory.names[column * NAME : (column + 1) * NAME] = digest
        return column

    def _find(self, digest: bytes) -> int | None:
        """The column that has the name, else the first one from its place on that no process uses."""
        names, count = self._memory.names, self._memory.columns - 1
        unused: int | None = None
        start = int.from_bytes(digest[:4])
        for step in range(count):
            column = 1 + (start + step) % count
            name = names[column * NAME : (column + 1) * NAME]
            if name == digest:
                return column
            is_empty = not any(name)
            # A name may stand behind a column that is not used any more, but never behind one that had no name yet.
            if unused is None and (is_empty or not self._is_used(column)):
                unused = column
            if is_empty:
                break
        return unused

    def _is_used(self, column: int) -> bool:
        memory = self._memory
        return any(memory.used[row * memory.columns + column] for row in range(memory.rows))


def _digest(name: ColumnName) -> bytes:
    # The same in all processes, and never that of a column without a name.
    return blake2b("\0".join(name).encode(), digest_size=NAME).digest()
