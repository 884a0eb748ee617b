"""The client of the admin API: one request, and its reply or an error of one line.

::

    reply = await call(reactor, AdminClient("unix:/run/smartproxy.sock", None), "GET", "/api/v1/connections")

The HTTP client is treq. A unix socket is reached through an endpoint below treq's agent, so the requests are the same.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from treq.client import HTTPClient
from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
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
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from smartproxy.errors import AdminRequestFailed

if TYPE_CHECKING:
    from twisted.web.client import URI
    from twisted.web.iweb import IAgent

#: A decoded JSON object. Python has no type for JSON values.
JsonObject: TypeAlias = dict[str, Any]

#: Seconds for a complete reply. A reload that binds many ports may take some.
TIMEOUT = 30.0

_UNPROCESSABLE, _FIRST_ERROR = 422, 400
#: Exit codes of commands by the status of the reply: 409 is a port that cannot be bound.
_EXIT_CODES = {409: 3}


class ICommandReactor(IReactorTime, IReactorTCP, IReactorUNIX, IReactorFDSet, IReactorFromThreads):
    """The parts of a reactor that the commands use."""


class AdminClient(NamedTuple):
    """The address of an admin listener, and its token.

    :ivar url: ``http://HOST:PORT``, ``https://HOST:PORT`` or ``unix:/PATH``.
    """

    url: str
    token: str | None

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


def make_agent(reactor: ICommandReactor, admin: AdminClient) -> IAgent:
    """Create the HTTP agent that connects to ``admin``."""
    agent: IAgent
    if admin.socket is None:
        agent = Agent(reactor)
    else:
        agent = Agent.usingEndpointFactory(reactor, _UnixSocketEndpoints(reactor, admin.socket))
    return agent


async def call(
    reactor: ICommandReactor, admin: AdminClient, method: str, path: str, query: dict[str, str] | None = None
) -> JsonObject:
    """Send one request to the admin API and return its reply.

    :raises AdminRequestFailed: if the proxy cannot be reached, refuses the request, or is not a proxy.
    """
    headers = Headers({} if admin.token is None else {"Authorization": [f"Bearer {admin.token}"]})
    client = HTTPClient(make_agent(reactor, admin))

    async def send() -> tuple[int, bytes]:
        response = await client.request(
            method, admin.base + path, params=query, headers=headers, allow_redirects=False
        )
        return response.code, await response.content()

    try:
        status, body = await Deferred.fromCoroutine(send()).addTimeout(TIMEOUT, reactor)
    except defer.TimeoutError as failure:
        raise AdminRequestFailed(f"no reply from {admin.url} within {TIMEOUT:g} s") from failure
    except Exception as failure:
        raise AdminRequestFailed(
            f"cannot connect to the admin listener at {admin.url}: {_one_line(failure)}"
        ) from failure
    return _decoded(admin, status, body)


def _one_line(failure: BaseException) -> str:
    """The message of ``failure`` in one line. An agent wraps an error of the connection in a list of reasons."""
    if isinstance(failure, ResponseFailed) and failure.reasons:
        failure = failure.reasons[0].value
    return " ".join(str(failure).split()) or type(failure).__name__


def _decoded(admin: AdminClient, status: int, body: bytes) -> JsonObject:
    try:
        reply = json.loads(body)
    except (ValueError, RecursionError):
        reply = None
    if not isinstance(reply, dict):
        raise AdminRequestFailed(f"{admin.url} answered {status}, but is not an admin listener of smartproxy")
    if status == _UNPROCESSABLE:
        raise AdminRequestFailed(
            "\n".join(printable(line) for line in reply.get("problems", [])), exit_code=2
        )
    if status >= _FIRST_ERROR:
        why = f"{admin.url} refused: {printable(reply.get('error', status))}"
        raise AdminRequestFailed(why, exit_code=_EXIT_CODES.get(status, 1))
    return reply


def printable(value: object) -> str:
    """Return ``value`` as text without control characters.

    Server names and hosts are chosen by clients, and must not move the cursor of the terminal.
    """
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(value))
