"""The counts of workers that do not run any more, so that no total decreases when one ends.

::

    retired = Retired()
    retired.retire(last_snapshot, killed=True)
    retired.snapshot                    # of all of them together

Only sums are kept, however many workers have ended. Routes that are not configured any more are dropped as those of a
running process are (:meth:`Counters.keep <smartproxy.metrics.counters.Counters.keep>`); targets likewise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.metrics.counters import UNROUTED
from smartproxy.workers.merged_targets import add_counts
from smartproxy.workers.sums import Sums

if TYPE_CHECKING:
    from smartproxy.workers.snapshot import WorkerSnapshot
    from smartproxy.workers.sums import Names


class Retired:
    """The sums of all workers that have ended.

    :ivar snapshot: these sums. It is replaced, never changed: whoever reads one in slices reads all of it.
    """

    def __init__(self) -> None:
        self._sums = Sums()
        self.snapshot = self._sums.snapshot()

    def retire(self, snapshot: WorkerSnapshot, *, killed: bool) -> None:
        """Add the last snapshot of a worker that has ended.

        Nothing of it lives any more: live connections, queues and rates are 0. It takes about 10 microseconds for each route
        that was used.

        :param killed: whether it has not closed its connections. Those that were live count as closed with the reason ``error``.
        """
        for _ in self._sums.add(snapshot):
            pass
        self._sums.end(killed=killed)
        self.snapshot = self._sums.snapshot()

    def keep(self, names: Names) -> None:
        """Drop what is not among ``names``. The close reasons of dropped routes are added to ``closed_before``.

        :param names: what is configured or still has connections.
        """
        counters = self._sums.counters
        gone = counters.routes.keys() - names.routes - {UNROUTED}
        for name in gone:
            add_counts(counters.closed_before, counters.routes.pop(name).closed)
        if self._sums.targets.keep(names.targets, names.groups) or gone:
            self.snapshot = self._sums.snapshot()

    def moved(self, group: str, name: str) -> tuple[int, int]:
        """The bytes received and sent of a target."""
        return self._sums.targets.moved(group, name)
