"""SmartProxy, the service: settings in, a running proxy out.

::

    proxy = SmartProxy(Settings.load("smartproxy.yaml"))
    proxy.setServiceParent(application)

Ports are bound in ``privilegedStartService``, so that a proxy on port 443 can then run as nobody (``twistd -u``).
Stopping drains: new connections are refused, and live ones have ``gracefulShutdownTimeout`` to end by themselves. A stopped
proxy may be started again; its counters go on. Each of the calls may be repeated: the last one wins.
"""

from __future__ import annotations

from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from twisted.application.service import IServiceCollection
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.logger import Logger

from smartproxy._version import __version__
from smartproxy.errors import ConfigurationError
from smartproxy.flow.threads import call_here
from smartproxy.proxy.admin_listener import admin_note, listen_for_admin
from smartproxy.proxy.core import ProxyCore
from smartproxy.proxy.local_control import LocalControl
from smartproxy.settings import Settings, route_list

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from twisted.internet.interfaces import IListeningPort

    from smartproxy.flow.threads import Call
    from smartproxy.settings import Route

log = Logger()

_ONE_PROCESS = (
    "workers: only twistd smartproxy starts processes; a program has one (remove workers, or write auto)"
)


class SmartProxy(ProxyCore):
    """A proxy.

    :param settings: the configuration: settings, the path of a file, or a mapping with the keys of a file.
    :param reactor: the installed one unless given.
    :raises ConfigurationError: with every problem of the configuration.
    :ivar draining: whether new connections are refused.
    """

    name = "smartproxy"

    def __init__(self, settings: Settings | str | Path | Mapping[str, Any], reactor: Any = None) -> None:
        settings = Settings.of(settings)
        if settings.workers not in {1, "auto"}:
            raise ConfigurationError([_ONE_PROCESS])
        if reactor is None:
            from twisted.internet import reactor  # noqa: PLC0415 - importing it installs a reactor
        super().__init__(settings, settings.compile(), reactor)
        self._runtime.tls.follow(self._compile_again)
        self._admin: IListeningPort | None = None

    # -- life cycle ----------------------------------------------------------------------------------

    def setServiceParent(self, parent: IServiceCollection) -> None:
        """Join ``parent``. Services have unique names there, so a second proxy is called ``smartproxy-2``, and so on."""
        self.name = self._free_name(IServiceCollection(parent, parent))
        super().setServiceParent(parent)

    def _free_name(self, parent: IServiceCollection) -> str:
        for number in count(1):
            name = self.name if number == 1 else f"{self.name}-{number}"
            try:
                found = parent.getServiceNamed(name)
            except KeyError:
                break
            if found is self:
                break
        return name

    def _open_others(self) -> None:
        if self.plan.admin is not None:
            self._admin = listen_for_admin(LocalControl(self), self.plan.admin, self._reactor)

    async def _close_others(self) -> None:
        if self._admin is not None:
            admin, self._admin = self._admin, None
            await maybeDeferred(admin.stopListening)

    def _started(self) -> None:
        log.info(
            "smartproxy {version} listens on {listeners}{admin}; {workers} worker; configuration {file}",
            version=__version__,
            listeners=self.listening_on(),
            admin=admin_note(self.plan.admin, self._admin),
            workers=1,
            file=self._configuration.settings.file or "of the program",
        )

    # -- changes -------------------------------------------------------------------------------------

    def update_routes(self, routes: Iterable[Route | Mapping[str, Any]]) -> Deferred[None]:
        """Replace all routes by these, as a whole or not at all.

        Ports open and close as they ask for. Live connections go on as they began; those of a route whose name is no
        longer configured end after ``gracefulShutdownTimeout`` with the reason ``route_removed``.

        :return: fires when it is done; fails with :class:`~smartproxy.errors.ConfigurationError` or
            ``CannotListenError``, and then nothing has changed.
        """
        try:
            given = route_list(routes)
        except ConfigurationError:
            return fail()
        return self._change(partial(self._with_routes, given), call_here)

    def replace_routes(self, routes: list[dict[str, object]]) -> Deferred[None]:
        """As :meth:`update_routes`, for routes as written in a file; they are checked in a thread."""
        return self._change(partial(self._with_routes, routes), self._in_thread)

    def _compile_again(self) -> Deferred[None]:
        """Put the configuration in force once more, with what is now in the files that it names."""
        again = self._configuration.put_in_force(lambda: self._configuration.settings, self._in_thread)
        return Deferred.fromCoroutine(again)

    def reload(self) -> Deferred[None]:
        """Read the configuration file again and put its routes and limits in force; as :meth:`update_routes`.

        It is read in a thread, so that a large file does not block the event loop.
        """
        return self._change(self._configuration.settings.again, self._in_thread)

    def _change(self, make: Callable[[], Settings], call: Call) -> Deferred[None]:
        return Deferred.fromCoroutine(self._configuration.change(make, call))

    def _with_routes(self, routes: Iterable[Route | Mapping[str, Any]]) -> Settings:
        return self._configuration.settings.with_routes(routes)

    # -- what can be read ----------------------------------------------------------------------------

    def waiting_for_restart(self) -> list[str]:
        """The keys of changed settings that are not in force before the process starts again."""
        return self._configuration.waiting_for_restart()
