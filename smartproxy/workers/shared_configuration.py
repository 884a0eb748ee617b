"""The configuration of all workers, and replacing it: in every one of them, or in none.

A change is read and compiled here, its new ports are bound, and every worker prepares it, and the process that forks more
of them. Whatever fails until then leaves the old configuration in force. Then all workers commit it. Changes run one after
the other, and no worker is started from when one has been compiled until it is in force.
"""

from __future__ import annotations

import os
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from smartproxy.errors import ConfigurationError, WorkerFailed
from smartproxy.observe.log_file import STDOUT, open_to_append
from smartproxy.proxy.accounting import not_opened
from smartproxy.proxy.assembly import listening_places
from smartproxy.workers import commands
from smartproxy.workers.nursery_messages import PROTOCOL
from smartproxy.workers.passed_settings import settings_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.flow.threads import Call
    from smartproxy.metrics.counters import Counters
    from smartproxy.model.plan import ProxyPlan
    from smartproxy.proxy.given import Place
    from smartproxy.settings import Settings
    from smartproxy.workers.forking import Forking
    from smartproxy.workers.held_sockets import HeldSockets
    from smartproxy.workers.slots import WorkerSlots

log = Logger()

#: Keys of settings that are used when the process starts.
_AT_START = ("acceleration", "admin", "workers")

#: Lets the process that forks workers use the configuration that comes with it.
LOAD: Final = {"do": "load", "protocol": PROTOCOL}


async def load(forking: Forking, settings: Settings) -> None:
    """Let workers that ``forking`` starts from now on have these settings.

    :raises WorkerFailed: if it cannot use them.
    """
    with settings_file(settings) as descriptor:
        asked = forking.ask(LOAD, descriptor)
    await asked


class SharedConfiguration:
    """What all workers are configured with.

    :param held: the listening sockets.
    :param slots: the workers.
    :param counters: count changes.
    :param changing: is held while a change is prepared and committed.
    :param call: calls what takes long, in a thread.
    :ivar settings: the configuration as written.
    :ivar plan: the same, compiled.
    :ivar on_change: called after each change.
    """

    def __init__(
        self,
        settings: Settings,
        plan: ProxyPlan,
        held: HeldSockets,
        slots: WorkerSlots,
        counters: Counters,
        changing: DeferredLock,
        call: Call,
    ) -> None:
        self.settings = settings
        self.plan = plan
        self.on_change: list[Callable[[], object]] = []
        self._started_with = plan
        self._held = held
        self._slots = slots
        self._counters = counters
        self._changing = changing
        #: Is held during a change from its beginning: workers are started while it is read.
        self._reading = DeferredLock()
        self._call = call
        self._is_closed = False
        counters.config_reload_at = time.time()

    def listen(self) -> None:
        """Bind every port.

        :raises CannotListenError: where a port cannot be bound; then none is.
        """
        self._held.open(listening_places(self.plan))

    def close(self) -> None:
        """Close every port, also to later changes."""
        self._is_closed = True
        self._held.close()

    def change(self, make: Callable[[], Settings]) -> Deferred[None]:
        """Put the configuration that ``make`` returns in force.

        :return: fails with :class:`~smartproxy.errors.ConfigurationError` where it is not valid, or a worker cannot use it,
            and with ``CannotListenError`` where a port cannot be bound; then nothing has changed.
        """
        return Deferred.fromCoroutine(self._counted(make))

    async def _counted(self, make: Callable[[], Settings]) -> None:
        ok = False
        try:
            await self._change(make)
            ok = True
        finally:
            self._counters.config_reload(time.time(), ok=ok)

    async def put_in_force_again(self) -> None:
        """Put the configuration in force once more, with what is now in the files that it names. It counts as no reload.

        :raises ConfigurationError: as :meth:`change` fails.
        """
        await self._change(lambda: self.settings)

    async def _change(self, make: Callable[[], Settings]) -> None:
        async with self._reading:
            settings, plan = await self._call(partial(_compiled, make))
            async with self._changing:
                await self._put_in_force(settings, plan)

    async def _put_in_force(self, settings: Settings, plan: ProxyPlan) -> None:
        if _log_path(plan) != _log_path(self.plan):
            check_access_log(settings, plan)
        places: set[Place] = set() if self._is_closed else listening_places(plan)
        opened = self._held.open(places)
        try:
            await self._prepare(settings, opened)
        except BaseException:
            await self._slots.tell_all(commands.Abort)
            self._held.close(opened)
            raise
        self._held.keep(places)
        await self._slots.tell_all(commands.Commit)
        self.settings, self.plan = settings, plan
        waiting = self.waiting_for_restart()
        if waiting:
            log.warn("changed settings wait for a restart: {keys}", keys=", ".join(waiting))
        for call in self.on_change:
            call()

    async def _prepare(self, settings: Settings, opened: set[Place]) -> None:
        """Let every worker, and the process that forks more of them, prepare ``settings``; none uses them yet."""
        try:
            for link in list(self._slots.serving()):
                try:
                    for number in self._slots.served_by(link):
                        await link.take(self._held.of_slot(number, opened), of_change=True)
                    await link.prepare(settings)
                except WorkerFailed:
                    if not link.has_ended:
                        raise
            await load(self._slots.forking, settings)
        except WorkerFailed as why:
            raise ConfigurationError(str(why).splitlines()) from why

    def waiting_for_restart(self) -> list[str]:
        """The keys of changed settings that are not in force before the process starts again."""
        return [key for key in _AT_START if getattr(self.plan, key) != getattr(self._started_with, key)]


def _compiled(make: Callable[[], Settings]) -> tuple[Settings, ProxyPlan]:
    settings = make()
    return settings, settings.compile()


def _log_path(plan: ProxyPlan) -> str | None:
    return None if plan.access_log is None else plan.access_log.path


def check_access_log(settings: Settings, plan: ProxyPlan) -> None:
    """Open the access log of ``settings``, and close it: the workers, which write it, could not name its line.

    :raises ConfigurationError: where it cannot be opened.
    """
    path = _log_path(plan)
    if path is None or path == STDOUT:
        return
    try:
        os.close(open_to_append(path))
    except OSError as why:
        raise not_opened(settings, why) from why
