"""One end of the control channel between the supervisor and a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Factory
from twisted.protocols.amp import AMP, BinaryBoxProtocol, RemoteAmpError

from smartproxy.errors import WorkerFailed

if TYPE_CHECKING:
    import socket

    from twisted.internet.interfaces import ITransport
    from twisted.protocols.amp import Command
    from twisted.python import failure


class ControlChannel(AMP):
    """AMP without its log lines.

    :ivar is_connected: whether the other end can be told something.
    """

    is_connected = False

    def open(self, end: socket.socket, reactor: Any) -> None:
        """Speak through ``end``, a unix stream socket. The caller closes its descriptor, of which this makes another."""
        end.setblocking(False)
        factory = Factory.forProtocol(lambda: self)
        factory.noisy = False
        reactor.adoptStreamConnection(end.fileno(), end.family, factory)

    def makeConnection(self, transport: ITransport) -> None:
        """Begin, as AMP does."""
        self.is_connected = True
        BinaryBoxProtocol.makeConnection(self, transport)

    def connectionLost(self, reason: failure.Failure | None = None) -> None:
        """End, as AMP does."""
        self.is_connected = False
        BinaryBoxProtocol.connectionLost(self, reason)
        self.transport = None

    async def tell(self, command: type[Command], **arguments: Any) -> dict[str, Any]:
        """Let the other process do something; return its answer.

        :raises WorkerFailed: if it cannot, or has ended.
        """
        if not self.is_connected:  # to send a descriptor then is no error that AMP handles
            raise WorkerFailed("the other process has ended")
        try:
            answer: dict[str, Any] = await self.callRemote(command, **arguments)
        except (ConnectionDone, ConnectionLost) as why:
            raise WorkerFailed("the other process has ended") from why
        except RemoteAmpError as why:  # a bug there: it has logged it, and closes its end
            raise WorkerFailed(f"the other process has failed at {command.__name__}, see its log") from why
        return answer
