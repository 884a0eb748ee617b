"""The configuration in force, and replacing it: as a whole, or not at all.

A change is *prepared*: compiled, and its paths are built, in a thread. Then it is *committed* in one turn of the event loop:
ports are bound, existing listeners switch to the new paths, and certificates are followed. Whatever fails before that
leaves the old configuration in force. Changes run one after the other; each starts from the result of the one before.

Where several processes serve, all of them prepare a change before any commits it: see :mod:`smartproxy.workers`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from twisted.internet.defer import DeferredLock, succeed
from twisted.logger import Logger

from smartproxy.connections.removed_routes import RemovedRoutes
from smartproxy.proxy.accounting import not_opened
from smartproxy.proxy.assembly import Paths
from smartproxy.proxy.carried_state import carry_over

if TYPE_CHECKING:
    from collections.abc import Callable, KeysView

    from twisted.internet.defer import Deferred

    from smartproxy.flow.threads import Call
    from smartproxy.model.plan import ProxyPlan
    from smartproxy.observe.access_log import AccessLog
    from smartproxy.proxy.listeners import Listeners
    from smartproxy.proxy.runtime import Runtime
    from smartproxy.settings import Settings


log = Logger()

#: Number of files that a log line names.
_NAMED = 5


class ReadConfiguration(NamedTuple):
    """A configuration that was read.

    :ivar settings: as written.
    :ivar plan: the same, compiled.
    :ivar denied: its files that this user may not read.
    """

    settings: Settings
    plan: ProxyPlan
    denied: list[str]


class PreparedChange(NamedTuple):
    """A configuration that can be put in force.

    :ivar access_log: that of the configuration; ``None`` for none.
    :ivar is_served: whether connections are accepted that it will be used for.
    """

    read: ReadConfiguration
    paths: Paths
    access_log: AccessLog | None
    is_served: bool


class ConfigurationInForce:
    """What the proxy is configured with now.

    :param plan: ``settings``, compiled.
    :param listening: whether ports are bound; else the next :meth:`listen` binds those of what was put in force meanwhile.
    :param draining: whether new connections are refused.
    :param is_reporting: whether to log what a user should know of it; false where another process does.
    :param wall_clock: seconds since the epoch.
    :ivar settings: the configuration as written.
    :ivar plan: the same, compiled.
    """

    def __init__(
        self,
        settings: Settings,
        plan: ProxyPlan,
        runtime: Runtime,
        listeners: Listeners,
        listening: Callable[[], bool],
        draining: Callable[[], bool],
        *,
        is_reporting: bool = True,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.plan = plan
        self._runtime = runtime
        self._listeners = listeners
        self._listening = listening
        self._draining = draining
        self._is_reporting = is_reporting
        self._acceleration = plan.acceleration
        self._workers = plan.workers
        self._admin = plan.admin
        #: What was last reported: files that may not be read, and keys that wait for a restart.
        self._denied: list[str] = []
        self._waiting: list[str] = []
        self._changing = DeferredLock()
        self._wall_clock = wall_clock
        self._counters = runtime.accounting.counters
        self._counters.config_reload_at = wall_clock()
        clocks = runtime.clocks
        self._removed = RemovedRoutes(
            runtime.accounting.registry, clocks.deadlines, clocks.seconds, self._names
        )

    def listen(self) -> None:
        """Bind every port.

        :raises CannotListenError: where a port cannot be bound; then none is.
        """
        paths = self._paths(self.plan)
        self._admin = self.plan.admin
        self._listeners.apply(paths)
        accounting = self._runtime.accounting
        accounting.apply(self.plan, accounting.prepare(self.plan, opened=False))
        self._runtime.tls.apply(paths.contexts, self.plan)
        self._runtime.follow_files(self.plan)
        self._runtime.apply_limits(self.plan)
        self._runtime.targets.apply(self.plan)

    def check_access(self) -> None:
        """Log which files cannot be read again: root may have read them, before the process became another user."""
        self._report_denied(self.settings.denied())

    def _report_denied(self, denied: list[str]) -> None:
        if denied and denied != self._denied and self._is_reporting:
            log.warn(
                "files that this user cannot read again: {files}{more}",
                files=", ".join(denied[:_NAMED]),
                more=", ..." if len(denied) > _NAMED else "",
            )
        self._denied = denied

    def _report_waiting(self) -> None:
        waiting = self.waiting_for_restart()
        if waiting and waiting != self._waiting and self._is_reporting:
            log.warn("changed settings wait for a restart: {keys}", keys=", ".join(waiting))
        self._waiting = waiting

    async def change(self, make: Callable[[], Settings], call: Call) -> None:
        """Put the configuration that ``make`` returns in force.

        :param call: how to call what takes long: in a thread, or here.
        :raises ConfigurationError: where it is not valid; the old one stays in force.
        :raises CannotListenError: where a port cannot be bound; likewise.
        """
        ok = False
        try:
            await self.put_in_force(make, call)
            ok = True
        finally:
            self._counters.config_reload(self._wall_clock(), ok=ok)

    async def put_in_force(self, make: Callable[[], Settings], call: Call) -> None:
        """As :meth:`change`, and not counted: for what is no reload."""
        async with self._changing:
            await self.commit(await self.prepare(make, call))

    async def prepare(self, make: Callable[[], Settings], call: Call) -> PreparedChange:
        """Do what may fail or take long. Nothing has changed yet.

        :raises ConfigurationError: where it is not valid, or its access log cannot be opened.
        """
        read = await call(lambda: _compiled(make()))
        carry_over(self.plan, read.plan)
        paths = await call(lambda: self._paths(read.plan))
        is_served = self._listening() and not self._draining()
        try:
            access_log = self._runtime.accounting.prepare(read.plan) if is_served else None
        except OSError as why:
            raise not_opened(read.settings, why) from why
        return PreparedChange(read, paths, access_log, is_served)

    def discard(self, prepared: PreparedChange) -> None:
        """Give up a prepared change."""
        self._runtime.accounting.discard(prepared.access_log)

    def commit(self, prepared: PreparedChange) -> Deferred[None]:
        """Put a prepared change in force, but for ports where none are open. Fires when unused ports are closed.

        :raises CannotListenError: where a port cannot be bound; then nothing has changed.
        """
        settings, plan, denied = prepared.read
        closing: Deferred[None] = succeed(None)
        if not self._listening():
            self._admin = plan.admin
        if prepared.is_served and self._listening() and not self._draining():
            closing = self._apply(prepared)
        else:
            self.discard(prepared)
        removed = self._names() - plan.by_name.keys()
        self.settings, self.plan = settings, plan
        if self._listening():  # else the next start does it: no target is checked meanwhile
            self._runtime.targets.apply(plan)
        self._counters.keep(plan.by_name.keys(), self._runtime.clocks.seconds())
        # Ports that are closed accept what the kernel has completed: these are connections of removed routes, too.
        closing.addCallback(lambda _: self._removed.remove(removed, plan.graceful_shutdown))
        self._report_denied(denied)
        self._report_waiting()
        return closing

    def _apply(self, prepared: PreparedChange) -> Deferred[None]:
        """What can fail comes first, and is undone where something behind it fails."""
        plan, paths = prepared.read.plan, prepared.paths
        try:
            closing = self._listeners.apply(paths)
        except BaseException:
            self.discard(prepared)
            raise
        self._runtime.accounting.apply(plan, prepared.access_log)
        self._runtime.tls.apply(paths.contexts, plan)
        self._runtime.follow_files(plan)
        self._runtime.apply_limits(plan)
        return closing

    def waiting_for_restart(self) -> list[str]:
        """The keys of settings that a change has not put in force: they are used when the process starts."""
        running = {"acceleration": self._acceleration, "admin": self._admin, "workers": self._workers}
        return [key for key, used in running.items() if getattr(self.plan, key) != used]

    def _paths(self, plan: ProxyPlan) -> Paths:
        return Paths(plan, self._runtime, self._draining)

    def _names(self) -> KeysView[str]:
        return self.plan.by_name.keys()


def _compiled(settings: Settings) -> ReadConfiguration:
    plan = settings.compile()
    return ReadConfiguration(settings, plan, settings.denied())
