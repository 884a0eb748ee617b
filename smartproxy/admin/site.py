"""The HTTP server of the admin listener: twisted.web around the guard and the router.

::

    site = make_admin_site(control, plan.admin, reactor)
    reactor.listenTCP(plan.admin.port, site, interface=plan.admin.address)

It differs from a plain :class:`~twisted.web.server.Site` where that would serve strangers too well: bodies
are bounded while they arrive, forms are not parsed, no error shows a traceback, and no line is logged for a
scrape; what changes the proxy is logged.
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
from smartproxy.admin.request import AdminRequest, Reply, refusal
from smartproxy.admin.router import Router
from smartproxy.model.timestamps import Moment

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.python.failure import Failure

    from smartproxy.admin.control import IProxyControl
    from smartproxy.model.plan import AdminPlan

#: Bytes of a request's body. 10,000 routes are about as much; nginx stops at the same point by default.
MAX_BODY = 1024 * 1024
#: Seconds in which whoever sent too much may read why, before the connection is cut.
LINGER = 2.0
#: Seconds without a byte of a request.
IDLE = 60.0

_ALWAYS = {"Server": "smartproxy", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_READING = frozenset({"GET", "HEAD"})


class BoundedRequest(Request):
    """A request whose body is refused as soon as it is, or says that it will be, too long.

    The answer goes out at once, followed by the end of our side. What still arrives is dropped for a moment
    rather than left unread: closing a socket with unread bytes makes the kernel send RST, and a client that
    gets one may lose the answer (RFC 9112, 9.6).
    """

    content: BytesIO
    _taken = 0
    _cut: IDelayedCall | None = None

    def gotLength(self, length: int | None) -> None:
        """All headers are there; ``None`` is a chunked body. It is held in memory, never in a file."""
        self.content = BytesIO()
        if length is not None and length > MAX_BODY:
            self._refuse_body()

    def handleContentChunk(self, data: bytes) -> None:
        """Part of the body has come."""
        self._taken += len(data)
        if self._cut is not None:
            return
        if self._taken > MAX_BODY:
            self._refuse_body()
        else:
            self.content.write(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """All of it is there. Without its content type, twisted.web takes no body for a form to parse."""
        self.requestHeaders.removeHeader(b"Content-Type")
        super().requestReceived(command, path, version)

    def process(self) -> None:
        """Answer, unless that has been done."""
        if self._cut is None:
            super().process()

    def connectionLost(self, reason: Failure) -> None:
        """The client has left."""
        if self._cut is not None and self._cut.active():
            self._cut.cancel()
        super().connectionLost(reason)

    def _refuse_body(self) -> None:
        reply = refusal(413, f"a body has at most {MAX_BODY} bytes")
        channel: Any = self.channel
        transport = channel.transport
        transport.write(_head(reply) + reply.body)
        self.requestHeaders.removeHeader(b"Expect")  # or twisted.web would still ask for the body
        transport.loseWriteConnection()
        self._cut = channel.site.reactor.callLater(LINGER, transport.abortConnection)


def _head(reply: Reply) -> bytes:
    lines = [
        f"HTTP/1.1 {reply.status} Content Too Large",
        f"Content-Type: {reply.content_type}",
        f"Content-Length: {len(reply.body)}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in _ALWAYS.items()),
    ]
    return "\r\n".join((*lines, "", "")).encode("ascii")


class Front(Resource):
    """The only resource: it turns a request into a question, and the answer into a response."""

    isLeaf = True
    _log = Logger()

    def __init__(self, guard: Guard, router: Router) -> None:
        super().__init__()
        self._guard = guard
        self._router = router

    def render(self, request: Any) -> int:
        """Answer now, or when the endpoint has done what it was asked."""
        Deferred.fromCoroutine(self._serve(request))
        return NOT_DONE_YET

    async def _serve(self, request: Any) -> None:
        left: list[object] = []
        request.notifyFinish().addBoth(left.append)
        asked = _asked(request)
        reply = await self._reply(asked)
        if asked.method not in _READING:
            self._log.info(
                "admin: {method!r} {path!r}: {status}",
                method=asked.method,
                path=asked.path,
                status=reply.status,
            )
        if not left:
            _respond(request, reply)

    async def _reply(self, asked: AdminRequest) -> Reply:
        try:
            answer = self._guard.refusal(asked) or self._router.answer(asked)
            return answer if isinstance(answer, Reply) else await answer
        except Exception:
            self._log.failure("admin: {method!r} {path!r} failed", method=asked.method, path=asked.path)
            return refusal(500, "this should not have happened; the log has more")


def _respond(request: Any, reply: Reply) -> None:
    request.setResponseCode(reply.status)
    headers = {**_ALWAYS, "Content-Type": reply.content_type, "Content-Length": str(len(reply.body))}
    for name, value in (*headers.items(), *reply.headers):
        request.setHeader(name, value)
    request.write(reply.body)
    request.finish()


def _asked(request: Any) -> AdminRequest:
    query = {_text(name): _text(values[-1]) for name, values in request.args.items()}
    body: bytes = request.content.read()
    return AdminRequest(_text(request.method), _text(request.path), query, request.requestHeaders, body)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


class AdminSite(Site):
    """A site that keeps no access log, and so has nothing to start either."""

    requestFactory = BoundedRequest

    def startFactory(self) -> None:
        """Twisted would open its log here, and wake up every second to know the date for it."""

    def log(self, request: Any) -> None:
        """Nothing: see :meth:`Front.render` for what is logged."""


def make_admin_site(
    control: IProxyControl,
    plan: AdminPlan,
    clock: IReactorTime,
    moment: Callable[[], Moment] = Moment.now,
) -> Site:
    """The factory for the admin listener, on TCP or on a unix socket.

    :param clock: for the timeouts of HTTP connections, and to let others run while a long page is written.
    :param moment: both clocks at once; its monotonic one must be that of the connection records.
    :raises ConfigurationError: for an address off loopback and no token.
    """
    front = Front(Guard(plan), Router(Api(control, moment, clock).table()))
    return AdminSite(front, timeout=IDLE, reactor=clock)
