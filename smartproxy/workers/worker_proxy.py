"""A proxy in a worker process: it reads no configuration and binds no socket, and is told what to do by the supervisor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smartproxy.errors import WorkerFailed
from smartproxy.proxy.core import ProxyCore

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from twisted.internet.defer import Deferred

    from smartproxy.files.states import FileStates
    from smartproxy.proxy.given import Given, ListeningSocket
    from smartproxy.proxy.reload import PreparedChange
    from smartproxy.settings import Settings
    from smartproxy.tls.ocsp.stapling import Stapling


class WorkerProxy(ProxyCore):
    """The proxy of one worker.

    :param settings: the configuration that the nursery has compiled.
    :param given: what it and the supervisor have made.
    """

    name = "worker"

    def __init__(self, settings: Settings, given: Given, reactor: Any) -> None:
        assert given.plan is not None  # noqa: S101 - it has not been put in force
        super().__init__(settings, given.plan, reactor, given)
        self._given = given
        self._prepared: PreparedChange | None = None

    @property
    def stapling(self) -> Stapling:
        """Fetches OCSP responses."""
        return self._runtime.tls.stapling

    def give(self, key: ListeningSocket, opened: socket.socket, *, of_change: bool = False) -> None:
        """Take a listening socket. It is used by :meth:`startService` or :meth:`listen_on_given`.

        :param of_change: whether it is one of a configuration that is prepared: then :meth:`commit` uses it.
        """
        if self.draining:
            opened.close()
            return
        sockets = self._given.sockets_of_change if of_change else self._given.sockets
        former = sockets.get(key)
        if former is not None:
            former.close()
        sockets[key] = opened

    def listen_on_given(self) -> None:
        """Accept from the sockets that were taken: those of another worker."""
        self._listeners.take()

    def release(self, slot: int) -> Deferred[None]:
        """Close the sockets of ``slot``."""
        return self._listeners.release(slot)

    async def prepare(self, take: Callable[[Settings], Settings]) -> None:
        """Prepare a configuration; the one that was prepared before is given up.

        :param take: gives it, in a thread; it is called with the one in force.
        :raises ConfigurationError: where it is not valid, or its access log cannot be opened.
        """
        self.abort(keep_sockets=True)
        prepared = await self._configuration.prepare(
            lambda: take(self._configuration.settings), self._in_thread
        )
        read = prepared.read
        self._prepared = prepared._replace(read=read._replace(settings=read.settings.without_routes()))

    async def renew_certificates(self, before: FileStates, states: FileStates) -> None:
        """Certificate files have changed from one state to another: read them."""
        await self._runtime.tls.renew(before, states)

    def commit(self) -> Deferred[None]:
        """Put the prepared configuration in force. Fires when the sockets are closed that it does not need.

        :raises WorkerFailed: if none is prepared: this worker would go on with another one than the others.
        """
        prepared, self._prepared = self._prepared, None
        if prepared is None:
            raise WorkerFailed("no configuration is prepared")
        return self._configuration.commit(prepared)

    def abort(self, *, keep_sockets: bool = False) -> None:
        """Give up the prepared configuration."""
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            self._configuration.discard(prepared)
        if not keep_sockets:
            for opened in self._given.sockets_of_change.values():
                opened.close()
            self._given.sockets_of_change.clear()
