"""Answering an exchange by a target: an idle connection is used at once, otherwise one is made.

What is sent is built from what was parsed; bytes of a client's head are never passed on as they came. Only where a target has
to be dialed, or waited for, the exchange has a coroutine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

from smartproxy.errors import PeerClosed, Refused
from smartproxy.flow.coroutines import CancellableCoroutine
from smartproxy.http.body import BodyWriter
from smartproxy.http.errors import status_of
from smartproxy.http.forwarded import forwarded_lines, request_target
from smartproxy.http.header_rules import request_trailers
from smartproxy.http.rewrite import rehosted
from smartproxy.http.tracing import traced
from smartproxy.http.upstream1 import HttpUpstream
from smartproxy.model.ending import about, in_words
from smartproxy.wire.http_framing import Body

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.python.failure import Failure

    from smartproxy.http.interfaces import AnswerReceiver
    from smartproxy.http.services import TargetServices
    from smartproxy.model.exchange import Exchange
    from smartproxy.upstream.connect import Turn
    from smartproxy.upstream.connected import Connected

_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})
_BAD_GATEWAY = 502

log = Logger()


class Forwarding:
    """Forwards one exchange.

    :param client: gets the answer.
    """

    __slots__ = (
        "_client", "_connecting", "_early", "_exchange", "_is_last_try", "_targets", "_trailers", "_upstream", "_writer", "is_sent",
    )  # fmt: skip

    def __init__(self, exchange: Exchange, client: AnswerReceiver, targets: TargetServices) -> None:
        self._exchange = exchange
        self._client = client
        self._targets = targets
        self._upstream: HttpUpstream | None = None
        self._writer: BodyWriter | None = None
        self._early: list[bytes] | None = None
        self._trailers = b""
        self._connecting: CancellableCoroutine[None] | None = None
        self._is_last_try = False
        self.is_sent = False

    # -- see Answerer ----------------------------------------------------------------------------------

    def begin(self) -> None:
        """Send the head, at once or when a target is connected."""
        try:
            connected, turn = self._targets.take(self._exchange)
        except Refused as why:
            self._client.failed(status_of(why), why.detail)
            return
        if connected is not None:
            self._send(connected)
        else:
            self._dial(turn)

    def request_data(self, pieces: Sequence[bytes | memoryview]) -> None:
        """See :class:`~smartproxy.http.interfaces.Answerer`."""
        if self._writer is not None:
            self._writer.write(pieces)
        else:
            self._early = [*(self._early or ()), *map(bytes, pieces)]

    def body_sink(self) -> object | None:
        """See :class:`~smartproxy.http.interfaces.Answerer`."""
        writer, upstream = self._writer, self._upstream
        return upstream.transport if upstream is not None and writer is not None and writer.is_raw else None

    def request_end(self, trailers: bytes) -> None:
        """See :class:`~smartproxy.http.interfaces.Answerer`."""
        if trailers:
            trailers = request_trailers(trailers, self._exchange)
        self.is_sent, self._trailers = True, trailers
        if self._writer is not None:
            self._writer.end(trailers)

    def client_ended(self) -> None:
        """See :class:`~smartproxy.http.interfaces.Answerer`. The client gets the answer all the same."""

    def cancel(self) -> None:
        """See :class:`~smartproxy.http.interfaces.Answerer`."""
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.abort()

    def pause_answer(self) -> None:
        """See :class:`~smartproxy.http.interfaces.Answerer`."""
        if self._upstream is not None:
            self._upstream.pause()

    def resume_answer(self) -> None:
        """See :class:`~smartproxy.http.interfaces.Answerer`."""
        if self._upstream is not None:
            self._upstream.resume()

    # -- the connection ----------------------------------------------------------------------------------

    def _dial(self, turn: Turn | None) -> None:
        self._client.pause_request()
        self._connecting = CancellableCoroutine(self._connected(turn), self._targets.call_soon)
        self._connecting.start().addErrback(self._not_connected)

    def _require_wanted(self) -> None:
        if self._exchange.is_over:
            raise PeerClosed

    async def _connected(self, turn: Turn | None) -> None:
        """Connect to a target, and send what is there of the request."""
        connected = await self._targets.connect(self._exchange, self._require_wanted, turn)
        self._connecting = None
        if self._exchange.is_over:
            connected.release(0, 0)
            connected.abort()
            return
        # Before the request is sent: a target that does not read it pauses the client again.
        self._client.resume_request()
        self._send(connected)

    def _send(self, connected: Connected) -> None:
        """Send what is there of the request, and read the answer."""
        exchange = self._exchange
        exchange.is_reused = connected.is_reused
        reader = connected.reader
        upstream = reader if isinstance(reader, HttpUpstream) else HttpUpstream(connected)
        self._upstream = upstream
        write = upstream.use(self, exchange, self._client, self._targets)
        head = connected.header + request_head(exchange, connected)
        body = exchange.framing.body
        if body is Body.NONE:
            write(head)
        else:
            self._writer = BodyWriter(write, head, chunked=body is Body.CHUNKED)
            if self._early is not None:
                self._writer.write(self._early)
                self._early = None
            if self.is_sent:
                self._writer.end(self._trailers)
            self._writer.flush()
        if upstream.is_paused:
            upstream.read()

    def _not_connected(self, why: Failure) -> None:
        self._connecting = None
        failed = why.value
        if not self._exchange.is_over and not isinstance(failed, Refused):
            self._log(why)
        why.cleanFailure()  # its frames, and those that have called them, refer to it and to all of the exchange
        if self._exchange.is_over:
            return
        if isinstance(failed, Refused):
            self._client.failed(status_of(failed), failed.detail)
        else:
            self._client.failed(_BAD_GATEWAY, in_words(failed))

    def _log(self, why: Failure) -> None:
        """Log an exception of a program's callable or balancer, or one that is a bug."""
        record = self._exchange.record
        log.failure(
            "connection {id} on route {route} failed: {about}",
            failure=why,
            id=record.id,
            route=self._exchange.routed.route.name,
            about=about(record),
        )

    # -- see AnswerUser ----------------------------------------------------------------------------------

    def answer_ended(self) -> None:
        """The connection is not this exchange's any more."""
        self._upstream = None

    def answer_refused(self, why: str) -> None:
        """Answer in the place of the target."""
        self._upstream = None
        self._client.failed(_BAD_GATEWAY, why)

    def answer_begun(self) -> None:
        """See :class:`~smartproxy.http.upstream1.AnswerUser`."""
        self._is_last_try = True

    def answer_cut(self, why: str, *, is_begun: bool) -> None:
        """Try once more, where that is safe; else answer in the place of the target."""
        self._upstream = None
        if is_begun or not self._may_try_again():
            self._client.failed(_BAD_GATEWAY, why)
            return
        self._is_last_try = True
        self._writer = None
        self._dial(None)

    def _may_try_again(self) -> bool:
        """Whether the target has closed an idle connection as it was used again, and the request may be repeated.

        It may if it has no body, and a method of which a repetition changes nothing (RFC 9110, 9.2.2), and if no byte of an
        answer was received: then the target has not begun to answer it.
        """
        exchange = self._exchange
        plan = exchange.routed.route.http
        return (
            exchange.is_reused
            and not self._is_last_try
            and plan is not None
            and plan.retries > 0
            and exchange.framing.body is Body.NONE
            and exchange.head.method in _IDEMPOTENT
        )


def request_head(exchange: Exchange, connected: Connected) -> bytes:
    """The head of a request as its target gets it: the rules of the route are applied last."""
    head, routed = exchange.head, exchange.routed
    plan = routed.route.http
    assert plan is not None  # noqa: S101 - its route speaks HTTP
    lines, framing_lines = exchange.terms.lines, exchange.terms.framing_lines
    if plan.forwarded:
        if exchange.is_trusted:
            lines += exchange.terms.proxy_lines
        lines += forwarded_lines(routed.detected, head, trusted=exchange.is_trusted)
    lines += traced(exchange)
    if plan.rewrite is not None and plan.rewrite.host != "preserve":
        lines = rehosted(lines, plan.rewrite.host, connected)
    if plan.request_rules is not None:
        lines = plan.request_rules(lines, exchange)
    line = f"{head.method} {exchange.rewritten or request_target(head)} HTTP/1.1\r\n".encode("latin-1")
    return b"%b%b%b\r\n" % (line, lines, framing_lines)
