"""What a request of ``twisted.web`` has in place of its HTTP connection."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import IConsumer, ITransport
from twisted.python.failure import Failure
from zope.interface import implementer

from smartproxy.http.date_field import missing_date
from smartproxy.serving.protocols import address_of
from smartproxy.wire.http_answer import AnswerHead
from smartproxy.wire.http_fields import Fields
from smartproxy.wire.http_framing import NO_BODY, Body, Framing
from smartproxy.wire.http_response import CONTENTLESS, phrase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from twisted.internet.address import IPv4Address, IPv6Address
    from twisted.web.server import Site

    from smartproxy.http.interfaces import AnswerReceiver
    from smartproxy.http.local.services import LocalServices
    from smartproxy.model.exchange import Exchange

#: RFC 9112, 4. A program may have made the phrase of what a client has sent: a line break would begin a field.
_REASON: Final = re.compile(rb"[\t -~\x80-\xff]*")
_UNKNOWN: Final = Framing(Body.CHUNKED)
_FINAL: Final = range(200, 600)
_NOT_MODIFIED, _BAD_REQUEST, _ERROR = 304, 400, 500
_PRODUCER_FAILED: Final = "its producer raised an exception"


@implementer(IConsumer, ITransport)
class ResourceChannel:
    """Gives an answer to the client.

    :param ended: called when the answer is complete, with 0 and ``""``; or with the status and what is wrong.
    :param log_failure: logs an exception with the route.
    :ivar is_paused: whether the client does not read.
    :ivar failure: an exception that was logged, and whose answer is a 500.
    """

    def __init__(
        self,
        exchange: Exchange,
        client: AnswerReceiver,
        site: Site,
        services: LocalServices,
        ended: Callable[[int, str], object],
        log_failure: Callable[[Failure], object],
    ) -> None:
        self.site = site
        self.is_paused = False
        self.disconnecting = False
        self._exchange = exchange
        self._client: AnswerReceiver | None = client
        self._services = services
        self._ended = ended
        self._log_failure = log_failure
        self.failure: BaseException | None = None
        self._producer: Any = None
        self._is_pulled = False
        self._left: int | None = None

    @property
    def transport(self) -> ResourceChannel:
        """Itself: programs write to the transport of a request, too."""
        return self

    # -- what a request calls ------------------------------------------------------------------------

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Any) -> None:
        """Send the head of the answer.

        :raises ValueError: where its status is not final, or a field cannot be written as a line. The client gets a 500.
        """
        if self._client is None:
            return
        try:
            self._begin(self._client, int(code), reason, headers)
        except ValueError as why:
            # The resource may answer later, where nothing else than its own code gets the exception.
            self.failure = why
            self._log_failure(Failure())
            self.fail("the head of its answer cannot be sent")
            raise

    def _begin(self, client: AnswerReceiver, status: int, reason: bytes, headers: Any) -> None:
        if status not in _FINAL:
            raise ValueError(f"status must be 200 to 599 (got {status!r})")
        if not _REASON.fullmatch(reason):
            reason = phrase(status).encode()
        every = getattr(headers, "getAllRawHeaders", None)
        fields = _fields(headers if every is None else every())
        lengths = fields.noted("content-length")
        length = int(lengths[0]) if lengths and lengths[0].isdigit() else None
        # The length in a 304 is that of a 200. Twisted announces 0 for any answer without content.
        is_announced = length is not None if status not in CONTENTLESS else status == _NOT_MODIFIED and length
        if not is_announced:
            fields = Fields(fields.without({b"content-length"}))
        has_body = self._exchange.head.method != "HEAD" and status not in CONTENTLESS
        self._left = length if has_body else 0
        framing = (
            _UNKNOWN if self._left is None else Framing(Body.LENGTH, self._left) if self._left else NO_BODY
        )
        client.answer(AnswerHead(status, reason, (1, 1), fields), framing)

    def write(self, data: bytes) -> None:
        """Send a part of its body; not more than its Content-Length, where it has one."""
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        if self._client is not None and data:
            self._client.answer_data((memoryview(data),))
            self._client.answer_flush()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send all of them."""
        self.write(b"".join(data))

    def requestDone(self, request: object) -> None:
        """The answer is complete, unless its Content-Length says otherwise."""
        if self._left:
            self.fail("the answer is shorter than its Content-Length")
        elif self._client is not None:
            self._client = None
            self._ended(0, "")

    def fail(self, detail: str, status: int = _ERROR) -> None:
        """There is no answer, or not all of it."""
        if self._client is not None:
            self._client = None
            self._ended(status, detail)

    def _respondToBadRequestAndDisconnect(self) -> None:
        """The request has a form that cannot be parsed."""
        self.fail("not a form (multipart/form-data)", _BAD_REQUEST)

    def loseConnection(self) -> None:
        """The resource ends the connection: what was sent is not all of the answer."""
        self.disconnecting = True
        self.fail("its resource closed the connection")

    abortConnection = loseConnection

    def isSecure(self) -> bool:
        """Whether the client's TLS is terminated here."""
        return self._exchange.routed.detected.secured is not None

    def getPeer(self) -> IPv4Address | IPv6Address:
        """The client, as announced."""
        return address_of(*self._exchange.routed.detected.announced.client)

    def getHost(self) -> IPv4Address | IPv6Address:
        """The address that it has connected to, as far as that is known."""
        detected = self._exchange.routed.detected
        header = detected.announced.header
        if header is not None and header.destination is not None:
            return address_of(*header.destination)
        address, _, port = detected.announced.accepted.listener.rpartition(":")
        host = address or ("::" if ":" in detected.announced.accepted.peer.host else "0.0.0.0")
        return address_of(host, int(port))

    # -- producers -----------------------------------------------------------------------------------

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Let ``producer`` write at the speed at which the client reads."""
        if self._producer is not None:
            raise RuntimeError("a producer is registered already")
        self._producer, self._is_pulled = producer, not streaming
        if self._is_pulled:
            self._services.call_soon(self._pull)
        elif self.is_paused:
            self._control(producer.pauseProducing)

    def unregisterProducer(self) -> None:
        """It has written everything."""
        self._producer = None

    def pause(self) -> None:
        """The client does not read."""
        self.is_paused = True
        if self._producer is not None and not self._is_pulled:
            self._control(self._producer.pauseProducing)

    def resume(self) -> None:
        """It reads again."""
        self.is_paused = False
        if self._producer is None:
            return
        if self._is_pulled:
            self._services.call_soon(self._pull)
        else:
            self._control(self._producer.resumeProducing)

    def close(self) -> None:
        """Nothing is sent any more."""
        self._client = None
        producer, self._producer = self._producer, None
        if producer is not None:
            self._succeeds(producer.stopProducing)

    def _pull(self) -> None:
        """Let a pull producer write once, and again in the next event loop iteration."""
        producer = self._producer
        if producer is None or self.is_paused or not self._is_pulled:
            return
        if not self._succeeds(producer.resumeProducing):
            self.fail(_PRODUCER_FAILED)
        elif self._producer is producer:
            self._services.call_soon(self._pull)

    def _control(self, method: Callable[[], object]) -> None:
        """Pause or resume a producer. This may be called while the answer is being written, which a failure must not end."""
        if not self._succeeds(method):
            self._services.call_soon(lambda: self.fail(_PRODUCER_FAILED))

    def _succeeds(self, method: Callable[[], object]) -> bool:
        """Call a method of a producer. Returns whether it raised no exception; that is logged."""
        try:
            method()
        except Exception:
            self._log_failure(Failure())
            return False
        return True


def _fields(pairs: Iterable[tuple[bytes, Iterable[bytes] | bytes]]) -> Fields:
    """Checked fields, with Date; without ``Server: TwistedWeb``, which says nothing about the resource.

    :raises ValueError: where one cannot be written as a line.
    """
    lines = []
    for name, values in pairs:
        folded = name.lower()
        for value in (values,) if isinstance(values, bytes) else values:
            if folded == b"server" and value.startswith(b"TwistedWeb/"):
                continue
            lines.append((name.decode("latin-1"), value.decode("latin-1")))
    block = Fields.of(lines).block
    return Fields(missing_date(block) + block)
