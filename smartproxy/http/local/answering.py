"""The base of everything that answers an exchange in this process.

::

    class Teapot(LocalAnswerer):
        def respond(self):
            self.answer_whole(418, Fields(), b"short and stout")

:meth:`LocalAnswerer.respond` is called once: when the request is complete, or as soon as it is known that its body is not
wanted. A body of up to :data:`DISCARDED` bytes is read and dropped, so that the connection can be used for the next request.
A longer one is not read: the answer is sent at once, and the connection ends with it. So it does where the client asks before it
sends the body (``Expect: 100-continue``): it gets the final answer instead of a 100 (RFC 9110, 10.1.1), and whether it
sends the body all the same is not known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smartproxy.http.date_field import missing_date
from smartproxy.http.errors import NO_FIELDS
from smartproxy.wire.http_answer import AnswerHead
from smartproxy.wire.http_fields import Fields
from smartproxy.wire.http_framing import NO_BODY, Body, Framing
from smartproxy.wire.http_response import BODILESS, CONTENTLESS, phrase

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from smartproxy.http.interfaces import AnswerReceiver
    from smartproxy.http.local.services import LocalServices
    from smartproxy.model.exchange import Exchange

#: Bytes of a body that nobody wants that are read for the sake of the connection (nginx reads 64 KiB in one buffer, Go 256 KiB).
DISCARDED: Final = 64 * 1024
_VERSION: Final = (1, 1)
_UNKNOWN: Final = Framing(Body.CHUNKED)


class LocalAnswerer:
    """Answers one exchange; by itself it discards the request's body, and leaves the answer to a subclass.

    :ivar exchange: what is answered.
    :ivar services: what is the same for all exchanges.
    """

    def __init__(self, exchange: Exchange, client: AnswerReceiver, services: LocalServices) -> None:
        self.exchange = exchange
        self.services = services
        self._client: AnswerReceiver | None = client
        self._discarded = 0
        self._has_begun = False

    @property
    def client(self) -> AnswerReceiver | None:
        """Gets the answer; ``None`` once the exchange has ended."""
        return self._client

    # -- the request: see Answerer -------------------------------------------------------------------

    def begin(self) -> None:
        """Answer at once where the body is not to be read."""
        framing = self.exchange.framing
        if framing.body is Body.NONE:
            return
        if expects_continue(self.exchange) or framing.length > DISCARDED:
            self._respond()

    def request_data(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Discard it; beyond the limit, answer at once."""
        self._discarded += sum(map(len, pieces))
        if self._discarded > DISCARDED:
            self._respond()

    def body_sink(self) -> object | None:
        """``None``: bodies are given to code of this process."""
        return None

    def request_end(self, trailers: bytes) -> None:
        """Answer."""
        self._respond()

    def client_ended(self) -> None:
        """The client has ended its direction. It gets the answer all the same."""

    def cancel(self) -> None:
        """No answer is wanted any more."""
        self._client = None

    def pause_answer(self) -> None:
        """A whole answer was written at once: there is nothing to pause."""

    def resume_answer(self) -> None:
        """Likewise."""

    def _respond(self) -> None:
        if not self._has_begun and self._client is not None:
            self._has_begun = True
            self.respond()

    # -- for a subclass ------------------------------------------------------------------------------

    def respond(self) -> None:
        """Answer."""
        raise NotImplementedError

    def answer_whole(self, status: int, fields: Fields, body: bytes = b"") -> None:
        """Send a whole answer.

        :param fields: without Content-Length; Date is added.
        """
        if self._client is None:
            return
        self.answer_head(status, fields, len(body))
        if body and self.has_body(status):
            self._client.answer_data((memoryview(body),))
        self.end()

    def answer_head(self, status: int, fields: Fields, length: int | None, *, chunked: bool = False) -> None:
        """Send the head of the answer.

        :param length: of the body, also where it is not sent; ``None`` is not announced.
        :param chunked: whether the body has an unknown length.
        """
        if self._client is None:
            return
        lines = missing_date(fields.block) + fields.block
        framing = NO_BODY
        if status in CONTENTLESS:
            length = None if status in BODILESS else 0
        if length is not None:
            lines += b"Content-Length: %d\r\n" % length
            framing = Framing(Body.LENGTH, length) if length and self.has_body(status) else NO_BODY
        elif chunked and self.has_body(status):
            framing = _UNKNOWN
        self._client.answer(AnswerHead(status, phrase(status).encode(), _VERSION, Fields(lines)), framing)

    def has_body(self, status: int) -> bool:
        """Whether an answer with ``status`` has its body sent (RFC 9110, 6.4.1)."""
        return self.exchange.head.method != "HEAD" and status not in CONTENTLESS

    def end(self) -> None:
        """The answer is complete, and this object has no part in the connection any more."""
        client, self._client = self._client, None
        if client is not None:
            client.answer_end(b"")

    def fail(self, status: int, detail: str, fields: Mapping[str, str] = NO_FIELDS) -> None:
        """Answer as the proxy does in a target's place; where the answer was begun, cut the client off.

        :param fields: of the answer, beside those that all errors have.
        """
        client, self._client = self._client, None
        if client is not None:
            client.failed(status, detail, fields)


def octets(data: bytes | bytearray | memoryview) -> memoryview:
    """The bytes of ``data``, of which ``len`` is the number.

    :raises TypeError: where it is no buffer.
    """
    try:
        view = memoryview(data)
    except TypeError:
        raise TypeError(f"a body must be bytes (got {type(data).__name__})") from None
    is_usual = view.ndim == 1 and view.format == "B" and view.c_contiguous
    return view if is_usual else memoryview(view.tobytes())


def expects_continue(exchange: Exchange) -> bool:
    """Whether the client waits for a 100 before it sends the body."""
    return bool(exchange.terms.expects)
