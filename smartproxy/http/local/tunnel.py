"""A connection that has switched to another protocol, served by the coroutine that has answered the request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from smartproxy.serving.connection import Connection, ServedCoroutine

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from smartproxy.flow.event import AwaitableEvent
    from smartproxy.flow.side import Side
    from smartproxy.model.facts import Routed
    from smartproxy.model.outcome import CloseReason
    from smartproxy.model.record import ConnectionRecord


class LocalTunnel:
    """Takes the place of the connection to a target.

    :param cancel: cancels the coroutine, when the client disconnects.
    :ivar connection: for the coroutine; there once it was started.
    """

    def __init__(self, cancel: Callable[[], None]) -> None:
        self.connection: Connection | None = None
        self._finished: Deferred[object] = Deferred(lambda _: cancel())

    def start(
        self, record: ConnectionRecord, side: Side, routed: Routed, clock: IReactorTime
    ) -> AwaitableEvent[CloseReason]:
        """Serve the connection. Its end happens with the reason."""
        served = record.owner = ServedCoroutine(record, side, clock, self._serve, routed)
        return served.start()

    def finished(self, result: object | Failure) -> None:
        """The coroutine has returned, or failed: the connection ends."""
        self.connection = None
        if not self._finished.called:
            self._finished.callback(result)

    async def _serve(self, connection: Connection) -> None:
        self.connection = connection
        await self._finished
