"""How a command asks the admin API of a running proxy: one request, one answer, or one line that says why not.

::

    answer = await ask(reactor, AdminClient("unix:/run/smartproxy.sock", None), "GET", "/api/v1/connections")

The HTTP client is treq; a unix socket is an endpoint under its agent, and the rest does not notice.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from treq.client import HTTPClient
from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.web.client import Agent, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from smartproxy.errors import AdminRequestFailed

if TYPE_CHECKING:
    from twisted.web.client import URI
    from twisted.web.iweb import IAgent

#: Seconds for a whole answer. A reload that opens many listeners may take some.
PATIENCE = 30.0


class AdminClient(NamedTuple):
    """Where the admin listener is, and what to show it."""

    url: str
    token: str | None

    @property
    def socket(self) -> str | None:
        """The path of its unix socket, if it is one."""
        return self.url.removeprefix("unix:") if self.url.startswith("unix:") else None

    @property
    def base(self) -> str:
        """What the paths of the API are appended to."""
        return "http://localhost" if self.socket is not None else self.url.rstrip("/")


@implementer(IAgentEndpointFactory)
class _Socket:
    """Leads every request to one unix socket."""

    def __init__(self, reactor: Any, path: str) -> None:
        self._endpoint: Any = UNIXClientEndpoint(reactor, path)

    def endpointForURI(self, _uri: URI) -> Any:
        return self._endpoint


def make_agent(reactor: Any, admin: AdminClient) -> IAgent:
    """The HTTP agent that reaches ``admin``."""
    agent: IAgent
    if admin.socket is None:
        agent = Agent(reactor)
    else:
        sockets = _Socket(reactor, admin.socket)
        agent = Agent.usingEndpointFactory(reactor, sockets)
    return agent


async def ask(
    reactor: Any, admin: AdminClient, method: str, path: str, query: dict[str, str] | None = None
) -> dict[str, Any]:
    """One question to the admin API.

    :raises AdminRequestFailed: where there is no proxy, it does not let us in, or it refuses.
    """
    headers = Headers({} if admin.token is None else {"Authorization": [f"Bearer {admin.token}"]})
    client = HTTPClient(make_agent(reactor, admin))

    async def exchange() -> tuple[int, bytes]:
        response = await client.request(
            method, admin.base + path, params=query, headers=headers, allow_redirects=False, reactor=reactor
        )
        return response.code, await response.content()

    try:
        status, body = await Deferred.fromCoroutine(exchange()).addTimeout(PATIENCE, reactor)
    except defer.TimeoutError as failure:
        raise AdminRequestFailed(f"no answer from {admin.url} within {PATIENCE:g} s") from failure
    except Exception as failure:
        raise AdminRequestFailed(
            f"cannot reach the admin listener at {admin.url}: {_why(failure)}"
        ) from failure
    return _understood(admin, status, body)


def _why(failure: BaseException) -> str:
    """In one line. An agent wraps what happened on the wire in a list of reasons."""
    if isinstance(failure, ResponseFailed) and failure.reasons:
        failure = failure.reasons[0].value
    return " ".join(str(failure).split()) or type(failure).__name__


def _understood(admin: AdminClient, status: int, body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise AdminRequestFailed(f"{admin.url} answered {status}, but not as an admin listener would")
    if status == 422:  # noqa: PLR2004 - a status code of HTTP
        raise AdminRequestFailed(
            "\n".join(printable(line) for line in answer.get("problems", [])), exit_code=2
        )
    if status >= 400:  # noqa: PLR2004 - a status code of HTTP
        raise AdminRequestFailed(f"{admin.url} refused: {printable(answer.get('error', status))}")
    return answer


def printable(value: object) -> str:
    """``value`` without anything that would move a terminal's cursor: clients choose their server names."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(value))
