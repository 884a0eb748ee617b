"""The HTTP server of the admin listener: twisted.web around the guard and the router.

::

    site = make_admin_site(control, plan.admin, reactor)
    reactor.listenTCP(plan.admin.port, site, interface=plan.admin.address)

It is stricter than a plain :class:`~twisted.web.server.Site`: the size of a body is bounded while it arrives, forms are not
parsed, and no error shows a traceback. Reads are not logged, so that scrapes do not fill the log; changes are.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from smartproxy.admin.api import Api
from smartproxy.admin.guard import Guard
from smartproxy.admin.outbox import Outbox
from smartproxy.admin.request import AdminRequest, Reply, refusal
from smartproxy.admin.router import Router
from smartproxy.admin.uploads import Uploads
from smartproxy.errors import NoWorker
from smartproxy.model.timestamps import Moment
from smartproxy.net.half_close import LINGER
from smartproxy.wire import http_response

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.python.failure import Failure

    from smartproxy.admin.control import IProxyControl
    from smartproxy.model.plan import AdminPlan

#: Largest body of a request in bytes: about 10,000 routes. nginx has the same default.
MAX_BODY = 1024 * 1024
#: Seconds after which a connection without a request is closed, and in which a request must be complete.
IDLE = 60.0

_ALWAYS = {"Server": "smartproxy", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_SAFE_METHODS = frozenset({"GET", "HEAD"})


class BoundedRequest(Request):
    """A request that must be complete in time, and whose body is refused as soon as it exceeds :data:`MAX_BODY`.

    The timeout of twisted.web does not limit the whole of a request: it starts again with each line and each piece. The reply to a body
    that is too large is sent at once, and then a FIN. Bytes that still arrive are read and dropped for :data:`LINGER`: closing a
    socket with unread bytes makes the kernel send RST, and a client that gets a RST may lose the reply (RFC 9112, 9.6).
    """

    content: BytesIO
    _log = Logger()
    _received = 0
    _abort: IDelayedCall | None = None

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        channel: Any = self.channel
        self._late: IDelayedCall = channel.site.reactor.callLater(IDLE, self._expire)

    def gotLength(self, length: int | None) -> None:
        """All headers have been received; ``length`` is ``None`` for a chunked body.

        twisted.web would store a long body in a temporary file; this one is bounded, and stays in memory.
        """
        self.content = BytesIO()
        if length is not None and length > MAX_BODY:
            self._refuse_body()

    def handleContentChunk(self, data: bytes) -> None:
        """A part of the body has been received."""
        self._received += len(data)
        if self._abort is not None:
            return
        if self._received > MAX_BODY:
            self._refuse_body()
        else:
            self.content.write(data)
            self._uploads.received(self, len(data))

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """The request is complete. Without a content type, twisted.web does not parse the body as a form."""
        self._is_whole()
        self.requestHeaders.removeHeader(b"Content-Type")
        super().requestReceived(command, path, version)

    def process(self) -> None:
        """Render the reply, unless the body has been refused."""
        if self._abort is None:
            super().process()

    def connectionLost(self, reason: Failure) -> None:
        """The client has closed the connection."""
        self._is_whole()
        if self._abort is not None and self._abort.active():
            self._abort.cancel()
        super().connectionLost(reason)

    def abort(self) -> None:
        """Close the connection and free the body: others need its memory."""
        self.content = BytesIO()
        channel: Any = self.channel
        self._log.info("admin: a request of {peer} was aborted: it is too slow", peer=channel.getPeer())
        channel.transport.abortConnection()

    @property
    def _uploads(self) -> Uploads:
        channel: Any = self.channel
        uploads: Uploads = channel.site.uploads
        return uploads

    def _expire(self) -> None:
        """Close the connection as an idle one is: without a log line, of which anyone could cause any number."""
        channel: Any = self.channel
        channel.transport.abortConnection()

    def _is_whole(self) -> None:
        """Nothing more of it is waited for."""
        self._uploads.ended(self)
        if self._late.active():
            self._late.cancel()

    def _refuse_body(self) -> None:
        self._is_whole()
        self.content = BytesIO()
        reply = refusal(413, f"a body has at most {MAX_BODY} bytes")
        # Twisted does not declare that the transport can half-close and abort, nor the site that it sets on a channel.
        channel: Any = self.channel
        transport = channel.transport
        headers = {"Content-Type": reply.content_type, **_ALWAYS}
        transport.write(http_response.build(reply.status, bytes(reply.body), headers))
        self.requestHeaders.removeHeader(b"Expect")  # or twisted.web would still send 100 Continue
        transport.loseWriteConnection()
        self._abort = channel.site.reactor.callLater(LINGER, transport.abortConnection)


class Front(Resource):
    """The only resource: converts between the requests of twisted.web and :class:`AdminRequest`."""

    isLeaf = True
    _log = Logger()

    def __init__(self, guard: Guard, router: Router, outbox: Outbox) -> None:
        super().__init__()
        self._guard = guard
        self._router = router
        self._outbox = outbox

    def render(self, request: BoundedRequest) -> int:
        """Send the reply when the endpoint returns it."""
        Deferred.fromCoroutine(self._serve(request))
        return NOT_DONE_YET

    async def _serve(self, http_request: BoundedRequest) -> None:
        finished: list[object] = []
        http_request.notifyFinish().addBoth(finished.append)
        request = _converted(http_request)
        reply = await self._reply(request)
        if request.method not in _SAFE_METHODS:
            self._log.info(
                "admin: {method!r} {path!r}: {status}",
                method=request.method,
                path=request.path,
                status=reply.status,
            )
        # The client may have closed the connection while the endpoint was running.
        if not finished:
            _set_head(http_request, reply)
            self._outbox.send(http_request, reply.body)

    async def _reply(self, request: AdminRequest) -> Reply:
        try:
            answer = self._guard.refusal(request) or self._router.answer(request)
            return answer if isinstance(answer, Reply) else await answer
        except NoWorker as none:
            return refusal(503, str(none))
        except Exception:
            self._log.failure("admin: {method!r} {path!r} failed", method=request.method, path=request.path)
            return refusal(500, "internal error; see the log")


def _set_head(http_request: BoundedRequest, reply: Reply) -> None:
    http_request.setResponseCode(reply.status, http_response.phrase(reply.status).encode())
    headers = {**_ALWAYS, "Content-Type": reply.content_type, "Content-Length": str(len(reply.body))}
    for name, value in (*headers.items(), *reply.headers):
        http_request.setHeader(name, value)


def _converted(request: BoundedRequest) -> AdminRequest:
    query = {_text(name): _text(values[-1]) for name, values in request.args.items()}
    body = request.content.read()
    return AdminRequest(_text(request.method), _text(request.path), query, request.requestHeaders, body)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


class AdminSite(Site):
    """A site without an access log."""

    noisy = False
    requestFactory = BoundedRequest

    def __init__(self, resource: Resource, **more: Any) -> None:
        super().__init__(resource, **more)
        self.uploads = Uploads()

    def startFactory(self) -> None:
        """Do not open a log: twisted.web would also start a timer that formats the date every second."""

    def log(self, request: object) -> None:
        """Do nothing; :class:`Front` logs what changes the proxy."""


def make_admin_site(
    control: IProxyControl,
    plan: AdminPlan,
    clock: IReactorTime,
    moment: Callable[[], Moment] = Moment.now,
) -> Site:
    """Create the factory of the admin listener, for TCP or a unix socket.

    :param clock: for the timeouts of HTTP connections, and to return to the event loop during a long scrape.
    :param moment: monotonic and wall clock read together; the monotonic one must be that of the connection records.
    :raises ConfigurationError: if the address is not loopback and there is no token.
    """
    front = Front(Guard(plan), Router(Api(control, moment, clock).table()), Outbox(clock))
    return AdminSite(front, timeout=IDLE, reactor=clock)
