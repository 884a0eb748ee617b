"""Which process has which row of the memory for limits, until it has exited.

A row may be given to another process only when its own has ended: it could still write to it.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any, Final

from twisted.logger import Logger

from smartproxy.errors import WorkerFailed

if TYPE_CHECKING:
    from collections.abc import Container

    from smartproxy.workers.forking import Forking
    from smartproxy.workers.memory import LimitsMemory, Row

log = Logger()

#: Seconds in which a process exits after it has closed its control channel.
EXIT: Final = 10.0


class ProcessRows:
    """The rows of all workers.

    :param clock: the reactor.
    """

    def __init__(self, memory: LimitsMemory, clock: Any) -> None:
        self._memory = memory
        self._clock = clock
        self._rows: dict[int, tuple[Row, Forking]] = {}

    def claim(self) -> Row:
        """A row for a process that is about to be forked.

        :raises WorkerFailed: if all are in use.
        """
        try:
            return self._memory.claim()
        except RuntimeError as full:
            raise WorkerFailed("too many workers that were replaced still end their connections") from full

    def give_back(self, row: Row) -> None:
        """No process was forked for ``row``."""
        self._memory.forget(row)

    def has(self, process: int, row: Row, forked_by: Forking) -> None:
        """``process`` was forked for ``row``; ``forked_by`` reports its end."""
        self._rows[process] = row, forked_by

    def exited(self, process: int) -> None:
        """The end of a process was reported."""
        row, _ = self._rows.pop(process, (None, None))
        if row is not None:
            self._memory.forget(row)

    def closed(self, process: int) -> None:
        """A process has closed its control channel: it exits now."""
        self._clock.callLater(EXIT, self._check, process)

    def nursery_lost(self, forking: Forking, living: Container[int]) -> None:
        """Who would report the end of the processes that it has forked has ended itself.

        :param living: the processes that have a control channel.
        """
        for process, (_, forked_by) in self._rows.items():
            if forked_by is forking and process not in living:
                self.closed(process)

    def _check(self, process: int) -> None:
        row, forked_by = self._rows.get(process, (None, None))
        if row is None or forked_by is None:
            return
        if forked_by.is_running:  # it would have reported the end: a thread of the process hangs
            log.error("worker process {process} does not exit, and is ended", process=process)
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        else:
            self.exited(process)
