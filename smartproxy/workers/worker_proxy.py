"""A proxy in a worker process: it reads no configuration and binds no socket, and is told what to do by the supervisor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smartproxy.flow.threads import thread_for
from smartproxy.proxy.core import ProxyCore
from smartproxy.proxy.reload import PreparedChange, ReadConfiguration

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from twisted.internet.defer import Deferred

    from smartproxy.model.plan import ProxyPlan
    from smartproxy.proxy.given import Given, ListeningSocket


class WorkerProxy(ProxyCore):
    """The proxy of one worker.

    :param given: what the supervisor and the nursery have made.
    :param files_changed: called when a file that the configuration names has changed, so that it has to be compiled again.
    """

    name = "worker"

    def __init__(self, given: Given, reactor: Any, files_changed: Callable[[], Deferred[Any]]) -> None:
        super().__init__(given.plan, reactor, given=given)
        self._given = given
        self._in_thread = thread_for("configuration", reactor)
        self._prepared: PreparedChange | None = None
        self._runtime.tls.follow(files_changed)

    def give(self, key: ListeningSocket, opened: socket.socket) -> None:
        """Take a listening socket. It is used by :meth:`startService`, :meth:`listen_on_given` or :meth:`commit`."""
        self._given.sockets[key] = opened

    def listen_on_given(self) -> None:
        """Accept from the sockets that were taken: those of another worker."""
        self._listeners.take()

    def release(self, slot: int) -> Deferred[None]:
        """Close the sockets of ``slot``."""
        return self._listeners.release(slot)

    async def prepare(self, plan: Callable[[], ProxyPlan]) -> None:
        """Prepare a configuration; the one that was prepared before is given up.

        :param plan: gives it, in a thread.
        :raises ConfigurationError: where its access log cannot be opened.
        """
        self.abort(keep_sockets=True)
        read = ReadConfiguration(None, await self._in_thread(plan), [])
        self._prepared = await self._configuration.prepare(read, self._in_thread)

    def commit(self) -> None:
        """Put the prepared configuration in force."""
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            self._configuration.commit(prepared)

    def abort(self, *, keep_sockets: bool = False) -> None:
        """Give up the prepared configuration."""
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            self._configuration.discard(prepared)
        if not keep_sockets:
            for opened in self._given.sockets.values():
                opened.close()
            self._given.sockets.clear()
