"""Bodies of HTTP requests that this process sends, and of their responses: small, and held in memory.

::

    response = await client.post(url, data=BytesBody(b"..."), unbuffered=True, ...)
    body = await collected(response, MAX_SIZE, OcspResponderUnavailable)

Twisted's ``FileBodyProducer`` and treq's collector are not used: the one uses the global reactor, and the other has no limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Protocol, connectionDone
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IConsumer, ITCPTransport
    from twisted.python.failure import Failure
    from twisted.web.iweb import IResponse


@implementer(IBodyProducer)
class BytesBody:
    """The body of a request."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """Write the whole body."""
        consumer.write(self._data)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Nothing is left to pause: the whole body has been written."""

    def resumeProducing(self) -> None:
        """Nothing is left to resume."""

    def stopProducing(self) -> None:
        """Nothing is left to stop."""


def collected(
    response: IResponse, max_size: int, failed: Callable[[str], Exception], refusal: str = ""
) -> Deferred[bytes]:
    """The body of a response. Cancel closes its connection.

    :param failed: makes the exception for a body that is larger than ``max_size`` bytes, or not wanted.
    :param refusal: why it is not wanted, or empty; if not, the connection is closed at once.
    """
    body = _BodyCollector(max_size, failed, refusal)
    response.deliverBody(body)
    return body.whole


class _BodyCollector(Protocol):
    """Collects the body of a response.

    :ivar whole: fires with the body.
    """

    transport: ITCPTransport | None

    def __init__(self, max_size: int, failed: Callable[[str], Exception], refusal: str) -> None:
        self.whole: Deferred[bytes] = Deferred(lambda _: self._disconnect())
        self._max_size = max_size
        self._failed = failed
        self._refusal = refusal
        self._received = bytearray()

    def connectionMade(self) -> None:
        if self._refusal:
            self._refuse(self._refusal)

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        if len(self._received) > self._max_size:
            self._refuse(f"answered with more than {self._max_size} bytes")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.whole.called:
            return
        # PotentialDataLoss: in HTTP/1.0 a body may end with its connection.
        if reason.check(ResponseDone, PotentialDataLoss):
            self.whole.callback(bytes(self._received))
        else:
            self.whole.errback(reason)

    def _refuse(self, why: str) -> None:
        if not self.whole.called:
            self.whole.errback(self._failed(why))
        self._disconnect()

    def _disconnect(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()
