"""The processes that fork workers, one after the other: replaced on demand, and started again when one has ended.

::

    nurseries = Nurseries(make_forking, slots, settings, changing, reactor)
    await nurseries.replace_workers()       # with the code that is installed now
    nurseries.lost(forking)                 # one has ended

The one in use is ``slots.forking``. One that was replaced ends after its last worker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from smartproxy.errors import WorkerFailed
from smartproxy.workers.shared_configuration import load

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.settings import Settings
    from smartproxy.workers.forking import Forking
    from smartproxy.workers.slots import WorkerSlots

log = Logger()

#: Seconds after which one that has ended is started again: one that ends at once must not keep the processor busy.
_DELAY: Final = 1.0


class Nurseries:
    """Replaces the process that forks workers.

    :param make: makes one, not started.
    :param slots: the workers.
    :param settings: gives the configuration in force.
    :param changing: is held while one loads: the configuration does not change then.
    """

    def __init__(
        self,
        make: Callable[[], Forking],
        slots: WorkerSlots,
        settings: Callable[[], Settings],
        changing: DeferredLock,
        reactor: Any,
    ) -> None:
        self._make = make
        self._slots = slots
        self._settings = settings
        self._changing = changing
        self._reactor = reactor
        self._replacing = DeferredLock()
        self._is_stopped = False

    def stop(self) -> None:
        """Start none any more."""
        self._is_stopped = True

    # -- new code --------------------------------------------------------------------------------------

    async def replace_workers(self) -> None:
        """Replace the workers one by one by new processes, with the code that is installed now.

        :raises WorkerFailed: where a new one cannot serve. If none can, the code of before is used for later ones, too.
        """
        async with self._replacing:
            unused = await self._use_new()
            fresh = self._slots.forking
            try:
                await self._slots.replace_all()
            except WorkerFailed:
                if unused.is_running and not any(link.forked_by is fresh for link in self._slots.serving()):
                    unused = await self._use_again(unused)
                raise
            finally:
                unused.retire()

    async def _use_new(self) -> Forking:
        """Fork workers from a process with the code that is installed now; return the one that was used before."""
        fresh = self._make()
        async with self._changing:
            fresh.start()
            fresh.watch()
            try:
                await load(fresh, self._settings())
            except BaseException:
                fresh.close()
                raise
            former, self._slots.forking = self._slots.forking, fresh
            return former

    async def _use_again(self, former: Forking) -> Forking:
        """Fork workers from the process of before: the new code cannot serve. Return the one that was used last."""
        async with self._changing:
            await load(former, self._settings())  # there may have been a reload
            fresh, self._slots.forking = self._slots.forking, former
            return fresh

    # -- one has ended ---------------------------------------------------------------------------------

    def lost(self, forking: Forking) -> None:
        """A process that forks workers has ended. Workers go on; the one in use is started again."""
        self._slots.nursery_lost(forking)
        if not self._is_stopped and forking is self._slots.forking:
            log.error("the process that forks workers has ended, and is started again")
            self._reactor.callLater(_DELAY, self._start)

    def _start(self) -> None:
        Deferred.fromCoroutine(self._start_again()).addErrback(
            lambda why: log.critical("no worker can be started any more: {why}", why=why.getErrorMessage())
        )

    async def _start_again(self) -> None:
        async with self._changing:  # so that it gets the configuration that the workers have
            if self._is_stopped or self._slots.forking.is_running:
                return
            fresh = self._make()
            try:
                fresh.start()
            except WorkerFailed:
                self._reactor.callLater(_DELAY, self._start)
                raise
            fresh.watch()
            self._slots.forking = fresh
            await load(fresh, self._settings())
