"""The client of the admin API: one request, and its reply or an error of one line.

::

    reply = await call(reactor, AdminClient("unix:/run/smartproxy.sock"), "GET", "/api/v1/connections")

Requests are made with Twisted's agent, because treq does not accept IPv6 addresses in URLs. A unix socket is reached through an endpoint
below the agent, so the requests are the same.
"""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from urllib.parse import quote, urlencode

import treq
from twisted.internet import defer
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.internet.interfaces import (
    IReactorFDSet,
    IReactorFromThreads,
    IReactorTCP,
    IReactorTime,
    IReactorUNIX,
    IStreamClientEndpoint,
)
from twisted.web.client import Agent, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer
from zope.interface import implementer

from smartproxy.errors import AdminRequestFailed

if TYPE_CHECKING:
    from twisted.internet.interfaces import IConsumer
    from twisted.web.client import URI
    from twisted.web.iweb import IAgent

#: A decoded JSON object. Python has no type for JSON values.
JsonObject: TypeAlias = dict[str, Any]

#: Seconds for a complete reply. A reload that binds many ports may take some.
TIMEOUT = 30.0

_UNAUTHORIZED, _UNPROCESSABLE, _FIRST_ERROR = 401, 422, 400
#: Exit codes of commands by the status of the reply: 409 is a port that cannot be bound.
_EXIT_CODES = {409: 3}

#: What to do where something else listens.
WRONG_ONE = "name the admin listener with --admin, or the proxy's configuration with --config"
#: What to do where nothing listens.
NOT_THERE = f"is the proxy running, with `admin` in its configuration? If so, {WRONG_ONE}"
#: Errors of a unix socket that belongs to another user.
_DENIED = frozenset({errno.EACCES, errno.EPERM})


class ICommandReactor(IReactorTime, IReactorTCP, IReactorUNIX, IReactorFDSet, IReactorFromThreads):
    """The parts of a reactor that the commands use."""


class AdminClient(NamedTuple):
    """The address of an admin listener, and its token.

    :ivar url: ``http://HOST:PORT``, ``https://HOST:PORT`` or ``unix:PATH``.
    :ivar origin: where the address was found, for messages.
    :ivar token_origin: likewise the token.
    :ivar hint: what to do where nothing listens there.
    """

    url: str
    token: str | None = None
    origin: str = "--admin"
    token_origin: str = ""
    hint: str = NOT_THERE

    @property
    def name(self) -> str:
        """The address for a message, with its origin."""
        return f"{self.url} ({self.origin})"

    @property
    def socket(self) -> str | None:
        """The path of the unix socket; ``None`` for a URL."""
        return self.url.removeprefix("unix:") if self.url.startswith("unix:") else None

    @property
    def base(self) -> str:
        """The URL that the paths of the API are appended to."""
        return "http://localhost" if self.socket is not None else self.url.rstrip("/")


@implementer(IAgentEndpointFactory)
class _UnixSocketEndpoints:
    """Connects every request of an agent to one unix socket."""

    def __init__(self, reactor: IReactorUNIX, path: str) -> None:
        self._endpoint: IStreamClientEndpoint = UNIXClientEndpoint(reactor, path)

    def endpointForURI(self, _uri: URI) -> IStreamClientEndpoint:
        return self._endpoint


@implementer(IBodyProducer)
class _JsonBody:
    """The body of a request: ``value`` as JSON."""

    def __init__(self, value: object) -> None:
        self._body = json.dumps(value).encode()
        self.length = len(self._body)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """All of it was written at once."""

    def resumeProducing(self) -> None:
        """Likewise."""

    def stopProducing(self) -> None:
        """Likewise."""


def segment(text: str) -> str:
    """``text`` as one segment of a path. Names of targets have slashes, colons, spaces and any other character.

    Bytes of a command line that are not UTF-8 stay as they are.
    """
    return quote(text, safe="", errors="surrogateescape")


def make_agent(reactor: ICommandReactor, admin: AdminClient) -> IAgent:
    """Create the HTTP agent that connects to ``admin``."""
    agent: IAgent
    if admin.socket is None:
        agent = Agent(reactor)
    else:
        agent = Agent.usingEndpointFactory(reactor, _UnixSocketEndpoints(reactor, admin.socket))
    return agent


async def call(
    reactor: ICommandReactor,
    admin: AdminClient,
    method: str,
    path: str,
    query: dict[str, str] | None = None,
    timeout: float = TIMEOUT,  # noqa: ASYNC109 - Twisted has no scope of asyncio's
    body: object = None,
) -> JsonObject:
    """Send one request to the admin API and return its reply.

    :param timeout: in seconds.
    :param body: sent as JSON; ``None`` is no body.
    :raises AdminRequestFailed: if the proxy cannot be reached, refuses the request, or is not a proxy.
    """
    headers = Headers({} if admin.token is None else {"Authorization": [f"Bearer {admin.token}"]})
    given = urlencode(query or {}, errors="surrogateescape")
    uri = f"{admin.base}{path}?{given}" if given else admin.base + path
    producer = None if body is None else _JsonBody(body)

    async def send() -> tuple[int, bytes]:
        response = await make_agent(reactor, admin).request(method.encode(), uri.encode(), headers, producer)
        return response.code, await treq.content(response)

    try:
        status, content = await Deferred.fromCoroutine(send()).addTimeout(timeout, reactor)
    except defer.TimeoutError as failure:
        raise AdminRequestFailed(f"no reply from {admin.name} within {timeout:g} s", WRONG_ONE) from failure
    except Exception as failure:
        raise _unanswered(admin, failure) from failure
    return _decoded(admin, status, content)


def _unanswered(admin: AdminClient, failure: BaseException) -> AdminRequestFailed:
    """What a failed request means for the user. An agent wraps an error of the connection in a list of reasons."""
    if isinstance(failure, ResponseFailed) and failure.reasons:
        failure = failure.reasons[0].value
        if not isinstance(failure, ConnectError | ConnectionClosed):
            protocol = "HTTPS" if admin.url.startswith("https:") else "HTTP"
            return AdminRequestFailed(f"{admin.name} does not speak {protocol}", WRONG_ONE)
    why, hint = " ".join(printable(failure).split()).rstrip(".") or type(failure).__name__, admin.hint
    if isinstance(failure, DNSLookupError):
        why, hint = "its name cannot be resolved", ""
    elif isinstance(failure, ConnectError) and isinstance(failure.osError, int):
        why = os.strerror(failure.osError)
        if failure.osError in _DENIED:
            hint = "only the proxy's user and root may use its unix socket"
    return AdminRequestFailed(f"cannot connect to the admin listener at {admin.name}: {why}", hint)


def _decoded(admin: AdminClient, status: int, body: bytes) -> JsonObject:
    try:
        reply = json.loads(body)
    except (ValueError, RecursionError):
        reply = None
    # Every refusal of the admin API is a mapping with "error" or "problems"; other servers may reply with JSON, too.
    if not isinstance(reply, dict) or (status >= _FIRST_ERROR and not reply.keys() & {"error", "problems"}):
        why = f"{admin.name} answered {status}, but is not an admin listener of smartproxy"
        raise AdminRequestFailed(why, WRONG_ONE)
    if status == _UNPROCESSABLE:
        problems = "\n".join(printable(line) for line in reply.get("problems") or [reply.get("error")])
        raise AdminRequestFailed(problems, exit_code=2)
    if status >= _FIRST_ERROR:
        why = f"{admin.name} refused: {printable(reply.get('error', status))}"
        hint = _token_hint(admin) if status == _UNAUTHORIZED else ""
        raise AdminRequestFailed(why, hint, _EXIT_CODES.get(status, 1))
    return reply


def _token_hint(admin: AdminClient) -> str:
    if admin.token is None:
        return "give it with --token, SMARTPROXY_TOKEN, or --config FILE for that of a configuration"
    return f"the token sent is from {admin.token_origin}"


def printable(value: object) -> str:
    """Return ``value`` as text without control characters.

    Server names and hosts are chosen by clients, and must not move the cursor of the terminal.
    """
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(value))
