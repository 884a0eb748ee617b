"""The answer to one request, as it is written to a client of HTTP/1.

Its head is rebuilt, and its body is written in a framing that the client knows: a body of unknown length in chunks, or to a client
of HTTP/1.0 up to the end of the connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.flow.states import following
from smartproxy.http.body import BodyWriter
from smartproxy.http.forwarded import end_to_end
from smartproxy.http.states import REPLY, MessageEvent, ReplyState
from smartproxy.wire import http_response
from smartproxy.wire.http_answer import build_head
from smartproxy.wire.http_fields import tokens
from smartproxy.wire.http_framing import Body

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from smartproxy.model.exchange import Exchange
    from smartproxy.wire.http_answer import AnswerHead
    from smartproxy.wire.http_framing import Framing

_AWAITED, _STARTED, _COMPLETE = ReplyState
_UNKNOWN_LENGTH = (Body.CHUNKED, Body.UNTIL_CLOSE)
_NO_CONTENT, _NOT_MODIFIED = 204, 304


class ClientReply:
    """Writes one answer.

    :param send: sends bytes to the client.
    :ivar state: what was sent of it.
    :ivar is_last: whether the connection ends with it.
    """

    __slots__ = ("_exchange", "_send", "_writer", "is_last", "state")

    def __init__(self, exchange: Exchange, send: Callable[[bytes], object]) -> None:
        self._exchange = exchange
        self._send = send
        self._writer: BodyWriter | None = None
        self.state = _AWAITED
        self.is_last = False

    @property
    def is_started(self) -> bool:
        """Whether a part of it was sent, and not all."""
        return self.state is _STARTED

    def informational(self, head: AnswerHead) -> None:
        """Pass an answer of 1xx on, to a client that knows them (RFC 9110, 15.2)."""
        if self._exchange.head.version != (1, 0):
            self._send(build_head(head.status, head.reason, end_to_end(head.fields)))

    def begin(self, head: AnswerHead, framing: Framing, *, persists: bool) -> None:
        """Write the head; it is sent with the begin of the body, or by :meth:`flush`.

        :param persists: whether the connection is for further requests.
        """
        exchange = self._exchange
        self.state = following(REPLY, self.state, MessageEvent.BEGUN)
        is_old = exchange.head.version == (1, 0)
        chunked = framing.body in _UNKNOWN_LENGTH and not is_old
        self.is_last = not persists or (framing.body in _UNKNOWN_LENGTH and is_old)
        lines = end_to_end(head.fields) + _framing_lines(
            head, framing, chunked=chunked, to_head=exchange.head.method == "HEAD"
        )
        if self.is_last:
            lines += b"Connection: close\r\n"
        elif is_old:
            lines += b"Connection: keep-alive\r\n"
        self._writer = BodyWriter(self._send, build_head(head.status, head.reason, lines), chunked=chunked)

    def data(self, pieces: Sequence[memoryview]) -> None:
        """Send a part of the body."""
        if self._writer is not None:
            self._writer.write(pieces)

    def flush(self) -> None:
        """Send the head, if no part of the body was sent with it."""
        if self._writer is not None:
            self._writer.flush()

    def end(self, trailers: bytes) -> None:
        """Send the end."""
        if self._writer is not None:
            self._writer.end(trailers)
        self.state = following(REPLY, self.state, MessageEvent.ENDED)

    def refuse(self, status: int) -> None:
        """Answer in the place of a target. The connection ends with it."""
        self.is_last = True
        self._send(http_response.build(status, to_head=self._exchange.head.method == "HEAD"))


def may_persist(exchange: Exchange) -> bool:
    """Whether the client wants to send another request on this connection (RFC 9112, 9.3)."""
    head = exchange.head
    asked = tokens(head.fields.noted("connection"))
    return "close" not in asked and (head.version != (1, 0) or "keep-alive" in asked)


def _framing_lines(head: AnswerHead, framing: Framing, *, chunked: bool, to_head: bool) -> bytes:
    """The fields that frame the body for the client."""
    if chunked:
        return b"Transfer-Encoding: chunked\r\n"
    if framing.body is Body.LENGTH:
        return b"Content-Length: %d\r\n" % framing.length
    if framing.body is not Body.NONE or head.status == _NO_CONTENT:
        return b""
    announced = head.fields.noted("content-length")  # to HEAD, or of 304: that of the body there would be
    if announced:
        return b"Content-Length: %d\r\n" % int(announced[0])
    return b"" if to_head or head.status == _NOT_MODIFIED else b"Content-Length: 0\r\n"
