"""HTTP/1.1 to a target: one connection, on which one exchange after the other is carried, and which is idle in between.

::

    answer:   COMPLETE --> AWAITED --> BODY --> COMPLETE        COMPLETE is idle, too

It reads as long as the connection lives: the end of an idle one, or bytes that nobody asked for, close it. An answer is
given to the client as it comes, and a connection that may be used again joins the pool before the end of the answer is
passed on: the client's next request finds it there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from twisted.internet.interfaces import IPushProducer
from zope.interface import classImplements

from smartproxy.flow.side import appended
from smartproxy.http.body import LEAST_MOVED, BodyReader
from smartproxy.http.forwarded import end_to_end, passed_trailers
from smartproxy.http.states import ANSWER, AnswerState, MessageEvent
from smartproxy.http.terms import answer_terms
from smartproxy.http.upgrade import agrees, upgrade_lines
from smartproxy.net.failed_write import read_before_loss
from smartproxy.net.half_close import has_unsent
from smartproxy.wire.http_answer import AnswerParser, build_head
from smartproxy.wire.http_framing import Body, answer_framing
from smartproxy.wire.verdict import Malformed, NeedMore

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from smartproxy.flow.side import SideTransport
    from smartproxy.http.interfaces import AnswerReceiver
    from smartproxy.http.services import TargetServices
    from smartproxy.model.exchange import Exchange
    from smartproxy.model.plan import HttpPlan
    from smartproxy.upstream.connected import Connected
    from smartproxy.wire.http_answer import AnswerHead
    from smartproxy.wire.http_fields import Fields

_SWITCHING = 101
_FINAL = 200

_AWAITED, _BODY, _COMPLETE = AnswerState
_BEGUN, _ENDED, _NEXT = MessageEvent


class AnswerUser(Protocol):
    """Who has sent a request on a connection, and is told what becomes of its answer."""

    @property
    def is_sent(self) -> bool:
        """Whether the request was sent whole."""

    def answer_ended(self) -> None:
        """It was received whole, or the connection has become a tunnel."""

    def answer_refused(self, why: str) -> None:
        """It cannot be passed on."""

    def answer_begun(self) -> None:
        """An informational answer was received: the target has begun with the request."""

    def answer_cut(self, why: str, *, is_begun: bool) -> None:
        """The connection has ended before it. ``is_begun``: whether a part of it was received."""


class HttpUpstream:
    """One connection to a target.

    :ivar is_paused: whether nothing is read, as when it was just connected.
    """

    __slots__ = (
        "_answer",
        "_client",
        "_connected",
        "_exchange",
        "_held",
        "_is_full",
        "_parser",
        "_persists",
        "_reader",
        "_targets",
        "_user",
        "is_paused",
    )
    __deletable__ = ("_client", "_exchange", "_targets")

    def __init__(self, connected: Connected) -> None:
        self._connected = connected
        self._parser = AnswerParser()
        self._answer = _COMPLETE
        self._held: bytes | bytearray = b""  # extended by appended()
        self._reader: BodyReader | None = None
        self._persists = False
        self._is_full = False  # whether too much of a request waits to be sent
        self.is_paused = True
        self._user: AnswerUser | None = None
        self._client: AnswerReceiver
        self._exchange: Exchange
        self._targets: TargetServices
        connected.reader = self
        connected.side.attach(self)
        connected.side.transport.registerProducer(self, True)
        # An answer that is complete may have a reset behind it, and a client may read it slowly.
        read_before_loss(connected.side.transport)

    @property
    def transport(self) -> SideTransport:
        """The transport to the target."""
        return self._connected.side.transport

    # -- for the user --------------------------------------------------------------------------------

    def use(
        self, user: AnswerUser, exchange: Exchange, client: AnswerReceiver, targets: TargetServices
    ) -> Callable[[bytes], object]:
        """Carry an exchange. Returns what the request is to be written with, its head first.

        :param targets: what is asked of the surroundings for it: those of another exchange on the connection may be of another route.
        """
        self._user, self._exchange, self._client, self._targets = user, exchange, client, targets
        self._parser.head_of = targets.head_of
        self._answer = ANSWER[self._answer][_NEXT]
        return self._connected.side.transport.write

    def read(self) -> None:
        """Read the answer: the head was sent. What the target has sent while it was being connected is a part of it."""
        early = self._connected.side.consume()
        # Before these bytes are passed on: a client that does not read them pauses the target again.
        self.resume()
        if early:
            self.data_received(early)

    def pause(self) -> None:
        """Read no more."""
        self.is_paused = True
        self._connected.side.transport.pauseProducing()

    def resume(self) -> None:
        """Read on."""
        self.is_paused = False
        self._connected.side.transport.resumeProducing()

    def abort(self) -> None:
        """No answer is wanted any more."""
        self._leave()
        self._connected.abort()

    # -- back-pressure -------------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """The target does not read."""
        self._is_full = True
        if self._user is not None:
            self._client.pause_request()

    def resumeProducing(self) -> None:
        """It reads again."""
        self._is_full = False
        if self._user is not None:
            self._client.resume_request()

    def stopProducing(self) -> None:
        """The connection is lost, which :meth:`lost` handles."""

    # -- the answer ----------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse what the target sends, and pass it on."""
        if self._user is None:
            self._close_idle()  # what was not asked for could not be told from an answer
            return
        self._held = appended(self._held, data) if self._held else data
        while self._held and self._user is not None:
            if self._answer is _AWAITED:
                if not self._read_head():
                    break
            else:
                self._read_body()
        if self._answer is _BODY:
            self._client.answer_flush()
            if self._reader is not None and self._reader.left >= LEAST_MOVED and self._user is not None:
                self._move_body(self._reader.left)

    def _read_head(self) -> bool:
        """Read a head. Returns whether there was one, or the exchange has ended by what was there instead."""
        verdict = self._parser(self._held)
        if isinstance(verdict, NeedMore):
            return False
        if isinstance(verdict, Malformed):
            self._refuse(verdict.why)
            return True
        head, consumed = verdict
        self._held = bytes(self._held[consumed:])
        if head.status >= _FINAL:
            self._final(head)
        elif head.status == _SWITCHING:
            self._switch(head)
        else:
            self._informational(head)
        return True

    def _switch(self, head: AnswerHead) -> None:
        """Make the connection a tunnel. What was received behind the head is its first bytes."""
        protocol, user = self._exchange.terms.upgrade, self._user
        if user is None or not agrees(head, protocol):
            self._refuse("101 to another protocol than was asked for")
            return
        early, self._held = bytes(self._held), b""
        side = self._connected.side
        side.transport.pauseProducing()
        self._connected.detach()
        self._user = None
        user.answer_ended()
        lines = end_to_end(head.fields) + upgrade_lines(protocol)
        self._client.switch(build_head(_SWITCHING, head.reason, lines) + early, self._connected)

    def _informational(self, head: AnswerHead) -> None:
        """Pass it on. It has no body; one that is framed in two ways is refused as any other answer."""
        framing = answer_framing(head.fields, head.version, head.status, to_head=False)
        if isinstance(framing, Malformed):
            self._refuse(framing.why)
        else:
            if self._user is not None:
                self._user.answer_begun()
            self._client.informational(head)

    def _final(self, head: AnswerHead) -> None:
        terms = answer_terms(head, to_head=self._exchange.head.method == "HEAD")
        framing = terms.framing
        if isinstance(framing, Malformed):
            self._refuse(framing.why)
            return
        self._answer = ANSWER[self._answer][_BEGUN]
        self._persists = terms.persists
        self._client.answer(head, framing)
        held = bytes(self._held)
        if framing.body is Body.NONE:
            self._end()
        elif framing.body is Body.LENGTH and len(held) == framing.length:  # most short ones come in one piece
            self._held = b""
            self._client.answer_data((held,))
            self._end()
        else:
            self._reader = BodyReader(framing)

    def _read_body(self) -> None:
        assert self._reader is not None  # noqa: S101 - the head was read
        pieces: list[bytes | memoryview] = []
        held, self._held = bytes(self._held), b""
        verdict = self._reader.feed(held, pieces)
        if verdict is None:
            self._client.answer_data(pieces)
            return
        if isinstance(verdict, Malformed):
            if pieces:
                self._client.answer_data(pieces)
            self._refuse(verdict.why)
            return
        self._held = held[verdict.consumed :]
        if pieces:
            self._client.answer_data(pieces)
        self._end(verdict.trailers)

    def _move_body(self, left: int) -> None:
        """Have the rest of the body moved from socket to socket, if it can be."""
        sink = self._client.body_sink()
        if sink is not None:
            self._targets.splicer.start(self.transport, sink, left, self._client.answer_moved, self._moved)

    def _moved(self, left: int) -> None:
        """The body was moved, but for so many bytes."""
        if self._reader is not None:
            self._reader.left = left
            if not left:
                self._end()

    def _end(self, trailers: Fields | None = None) -> None:
        """The answer is complete. What follows it was not asked for, and is dropped with the connection."""
        self._answer = ANSWER[self._answer][_ENDED]
        user, client = self._user, self._client
        assert user is not None  # noqa: S101 - it has got the answer
        plan = self._exchange.routed.route.http
        if not user.is_sent or self._is_full or self._holds_body():
            self.abort()  # a further request would wait behind the rest of this one
        elif self._persists and not self._held and plan is not None:
            self._keep(plan)
        else:
            self._leave()
            self._connected.close()
        user.answer_ended()
        client.answer_end(passed_trailers(trailers))

    def _holds_body(self) -> bool:
        """Whether the target has answered a body that it has not read."""
        return self._exchange.framing.body is not Body.NONE and has_unsent(self.transport)

    def _keep(self, plan: HttpPlan) -> None:
        """Join the pool."""
        self._user = self._reader = None
        self._connected.release(0, 0)  # the bytes are those of the exchange
        if self.is_paused:
            self.resume()
        self._targets.pool.put(self._connected, plan.idle_timeout, plan.most_idle)
        # They refer to the head of the request, to its client, and to the configuration that it was answered by.
        del self._client, self._exchange, self._targets

    # -- ends ----------------------------------------------------------------------------------------

    def _refuse(self, why: str) -> None:
        user = self._user
        if self._answer is _AWAITED:
            self._connected.answered_badly(why)
        self.abort()
        if user is not None:
            user.answer_refused(why)

    def _cut(self, why: str) -> None:
        """The connection has ended before the answer."""
        user, is_begun = self._user, self._answer is _BODY or bool(self._held)
        # That an idle connection is closed as it is used again is nobody's fault; and one that is closed within a request may
        # be the answer to its body, which any client can send.
        if self._answer is _AWAITED and not self._connected.is_reused and user is not None and user.is_sent:
            self._connected.answered_badly(why)
        self.abort()
        if user is not None:
            user.answer_cut(why, is_begun=is_begun)

    def input_ended(self) -> None:
        """The target has ended its direction: that is the end of some bodies, and a cut of all others."""
        if self._user is None:
            self._close_idle()
        elif self._answer is _BODY and self._reader is not None and self._reader.may_end_by_close:
            self._end()
        else:
            self._cut("the target closed the connection before its answer was complete")

    def output_ended(self) -> None:
        """Our direction has ended."""

    def lost(self, why: Failure) -> None:
        """The connection is lost. An answer that is not complete is a cut."""
        if self._user is None:
            self._close_idle()
        else:
            self._cut("the target reset the connection")

    def _close_idle(self) -> None:
        alike = self._connected.alike
        if alike is not None:
            alike.close(self._connected)

    def _leave(self) -> None:
        """The exchange is over for this connection, which is closed: give its place at the target back."""
        if self._user is not None:
            self._user = self._reader = None
            self._connected.release(0, 0)


classImplements(HttpUpstream, IPushProducer)
