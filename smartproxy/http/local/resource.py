"""Resources of ``twisted.web`` beside proxied routes: each request is one of ``twisted.web.server.Request``.

The request gets a channel of its own in place of an HTTP connection of Twisted's, and this channel gives what it is told to
the client. So what works in a ``Site`` works here: Klein, ``WSGIResource``, producers, ``NOT_DONE_YET``, ``notifyFinish``.
Framing, keep-alive and the answer's ``Date`` are the proxy's. The body of a request is read whole before it is rendered, as
``twisted.web`` wants it: up to :data:`BODY_LIMIT`, or ``http.maxBodySize``; ``twisted.web`` keeps what is over 100 KB in a
temporary file.
"""

from __future__ import annotations

from inspect import isclass
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.error import ConnectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from twisted.web.server import NOT_DONE_YET, Request, Site

from smartproxy.http.forwarded import believed
from smartproxy.http.local.answering import expects_continue
from smartproxy.http.local.channel import ResourceChannel
from smartproxy.http.local.handler import LEAVING
from smartproxy.http.local.services import LocalAnswers
from smartproxy.model.ending import about, in_words
from smartproxy.model.outcome import CloseReason
from smartproxy.wire.http_answer import AnswerHead
from smartproxy.wire.http_fields import Fields
from smartproxy.wire.http_framing import Body

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from smartproxy.flow.deadline import Deadline
    from smartproxy.http.interfaces import Answerer, AnswerReceiver
    from smartproxy.http.local.services import LocalServices
    from smartproxy.model.exchange import Exchange

#: Bytes of a request's body where ``http.maxBodySize`` sets no limit.
BODY_LIMIT: Final = 64 * 1024 * 1024
_CONTINUE, _TOO_LARGE, _ERROR = 100, 413, 500

log = Logger()


class _MadeSite:
    """The site of a resource, once it was made. It has the sessions."""

    def __init__(self) -> None:
        self.site: Site | None = None


class ResourceAnswers(LocalAnswers):
    """Answers by a resource.

    :param source: the resource, or a callable without arguments that gives it. That is called with the first request; where it
        raises, the request is a 500, and the next one calls it again.
    :ivar made: its site, shared with what goes on with it after a reload.
    """

    def __init__(self, source: Any) -> None:
        self.source = source
        self.made = _MadeSite()
        self._is_loaded = False

    def carry_over(self, former: object) -> None:
        """Go on with the same site: it has the sessions. A callable is called again, and gives it another resource."""
        if isinstance(former, ResourceAnswers) and former.source == self.source:
            self.made = former.made

    def __call__(self, exchange: Exchange, client: AnswerReceiver, services: LocalServices) -> Answerer:
        """The answerer of one exchange."""
        return _ResourceAnswerer(lambda: self._found(services), exchange, client, services)

    def _found(self, services: LocalServices) -> Site:
        site = self.made.site
        if site is None or not self._is_loaded:
            source: Any = self.source
            resource = source if is_resource(source) else source()
            if not is_resource(resource):
                raise TypeError(f"the handler gave {type(resource).__name__}: must be an IResource")
            if site is None:
                site = self.made.site = Site(resource, reactor=services.clock)
            site.resource = resource
            self._is_loaded = True
        return site


def is_resource(value: object) -> bool:
    """Whether ``value`` is a resource, and not a class of them."""
    return not isclass(value) and bool(IResource.providedBy(value))


class _ResourceAnswerer:
    """Answers one exchange. It is an :class:`~smartproxy.http.interfaces.Answerer`."""

    def __init__(
        self,
        site: Callable[[], Site],
        exchange: Exchange,
        client: AnswerReceiver,
        services: LocalServices,
    ) -> None:
        self._find_site = site
        self._exchange = exchange
        self._client: AnswerReceiver | None = client
        self._services = services
        plan = exchange.routed.route.http
        self._room = (plan.max_body if plan is not None else 0) or BODY_LIMIT
        self._channel: ResourceChannel | None = None
        self._request: Any = None
        self._leaving: Deadline | None = None

    def begin(self) -> None:
        """Make the request; it is rendered when it is complete."""
        framing = self._exchange.framing
        if framing.length > self._room:
            self._fail(_TOO_LARGE, f"a body of over {self._room} bytes")
            return
        try:
            site = self._find_site()
        except Exception:
            self._failed(Failure())
            self._fail(_ERROR, "the resource of its handler cannot be made")
            return
        assert self._client is not None  # noqa: S101 - nothing has ended it
        self._channel = ResourceChannel(
            self._exchange, self._client, site, self._services, self._ended, self._failed
        )
        self._request = _RoutedRequest(self._channel, self._failed)
        exchange = self._exchange
        for name, value in believed(exchange.head.fields, trusted=exchange.is_trusted).pairs():
            self._request.requestHeaders.addRawHeader(name.encode("latin-1"), value.encode("latin-1"))
        self._request.gotLength(None if framing.body is Body.CHUNKED else framing.length)
        if framing.body is not Body.NONE and expects_continue(self._exchange):
            self._client.informational(AnswerHead(_CONTINUE, b"Continue", (1, 1), Fields()))

    def request_data(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Store a part of the body."""
        if self._request is None:
            return
        for piece in pieces:
            self._room -= len(piece)
            if self._room < 0:
                self._fail(_TOO_LARGE, "a body over the limit")
                return
            self._request.handleContentChunk(bytes(piece))

    def body_sink(self) -> object | None:
        """``None``: bodies are given to the resource."""
        return None

    def request_end(self, trailers: bytes) -> None:
        """Render it."""
        request, head = self._request, self._exchange.head
        if request is None:
            return
        request.parseCookies()
        target = head.target if head.target.startswith(("/", "*")) else f"{head.path}{_query(head.target)}"
        version = b"HTTP/%d.%d" % head.version
        try:
            request.requestReceived(head.method.encode("ascii"), target.encode("latin-1"), version)
        except Exception:
            self._failed(Failure())
            self._fail(_ERROR, "its resource failed")

    def client_ended(self) -> None:
        """The client has ended its direction: it may be gone, as of :class:`~smartproxy.http.local.handler.HandlerAnswerer`."""
        sent = self._exchange.response_bytes
        self._leaving = self._services.deadlines.call_later(LEAVING, lambda: self._check_client(sent))

    def cancel(self) -> None:
        """The client is gone, or gets no answer: tell the resource."""
        self._client = None
        self._stop_watching()
        channel, self._channel = self._channel, None
        request, self._request = self._request, None
        if channel is not None:
            channel.close()
        if request is not None and not request.finished:
            try:
                request.connectionLost(Failure(ConnectionDone()))
            except Exception:  # of what was notified
                self._failed(Failure())

    def pause_answer(self) -> None:
        """The client does not read."""
        if self._channel is not None:
            self._channel.pause()

    def resume_answer(self) -> None:
        """It reads again."""
        if self._channel is not None:
            self._channel.resume()

    def _check_client(self, sent: int) -> None:
        if self._client is None or self._channel is None:
            return
        if self._channel.is_paused or self._exchange.response_bytes != sent:
            self.client_ended()
        else:
            self._exchange.record.owner.abort(CloseReason.CLIENT_RESET)

    def _ended(self, status: int, detail: str) -> None:
        """The answer is complete; or, with a ``status``, it is not and will not be."""
        if status:
            self._fail(status, detail)
            return
        client, self._client = self._client, None
        self._stop_watching()
        self._channel = self._request = None
        if client is not None:
            client.answer_end(b"")

    def _fail(self, status: int, detail: str) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.failed(status, detail)  # which cancels this

    def _stop_watching(self) -> None:
        leaving, self._leaving = self._leaving, None
        if leaving is not None:
            leaving.cancel()

    def _failed(self, why: Failure) -> None:
        record = self._exchange.record
        self._exchange.detail = f"its resource raised {in_words(why.value)}"
        log.failure(
            "connection {id} on route {route}: its resource failed: {about}",
            failure=why,
            id=record.id,
            route=self._exchange.routed.route.name,
            about=about(record),
        )


def _query(target: str) -> str:
    _, mark, query = target.partition("?")
    return mark + query


class _CheckedResource:
    """A resource that renders bytes, or later. The client of any other would get the ``repr`` of it and of what it has rendered."""

    def __init__(self, resource: Any) -> None:
        self._resource = resource

    def __repr__(self) -> str:
        return repr(self._resource)

    def render(self, request: Request) -> bytes | int:
        """What the resource renders.

        :raises TypeError: where that is neither bytes nor ``NOT_DONE_YET``.
        """
        body = self._resource.render(request)
        if isinstance(body, bytes) or body is NOT_DONE_YET:
            return body
        found = type(body).__name__
        raise TypeError(f"{type(self._resource).__name__} rendered {found}: must be bytes or NOT_DONE_YET")


class _RoutedRequest(Request):
    """A request whose failures are logged with the route, and whose framing is the client's connection's."""

    def __init__(self, channel: ResourceChannel, log_failure: Callable[[Failure], object]) -> None:
        super().__init__(channel)
        self._channel = channel
        self._log_failure = log_failure

    def write(self, data: bytes) -> None:
        """Write content, without chunks: the channel frames it."""
        version, self.clientproto = self.clientproto, b"HTTP/1.0"
        try:
            super().write(data)
        finally:
            self.clientproto = version

    def render(self, resrc: Any) -> None:
        """Render it, and its answer must be one."""
        super().render(_CheckedResource(resrc))

    def processingFailed(self, reason: Failure) -> Failure:
        """An exception of the resource: a 500 without anything internal, or a cut where the answer was begun."""
        if reason.value is not self._channel.failure:
            self._log_failure(reason)
        self._channel.fail("its resource raised an exception")
        return reason
