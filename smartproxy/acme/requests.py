"""One HTTP request to an ACME directory, with limits on time and size.

::

    requests = AcmeRequests(reactor, ca=None)
    answer = await requests("GET", "https://acme.example/directory")    # DirectoryUnavailable: why there is no answer
    answer.status, answer.headers.get("Replay-Nonce"), answer.body

Only ``https`` is used, and the server's certificate is verified: with the authorities in ``ca``, or with those of the system. A
redirect of a GET or HEAD is followed to another ``https`` URL. A POST is signed for its URL (RFC 8555, 6.4), so its redirect is
returned as it is. Proxies from the environment are not used. Names are resolved in threads of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urljoin, urlsplit

from service_identity import VerificationError
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.ssl import Certificate, platformTrust, trustRootFromCertificates
from twisted.web.client import (
    BrowserLikePolicyForHTTPS,
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseFailed,
)
from twisted.web.http_headers import Headers

from smartproxy._version import __version__
from smartproxy.acme.text import one_line
from smartproxy.errors import AcmeError, DirectoryUnavailable
from smartproxy.flow.http_bodies import BytesBody, collected
from smartproxy.flow.names import with_own_names
from smartproxy.flow.quiet_agent import quiet_agent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import NoReturn

    from twisted.python.failure import Failure
    from twisted.web.iweb import IAgent, IResponse

#: Seconds for a whole request, with name resolution, connection and redirects. An authority may take seconds to sign.
TIMEOUT: Final = 30.0
#: Bytes of an answer. A chain of three certificates has about 6 KB, and an order for 100 names 20 KB.
MAX_SIZE: Final = 1024 * 1024
#: Redirects that are followed, as Twisted's ``RedirectAgent`` does at most 20 of; a directory needs one or none.
MAX_REDIRECTS: Final = 5

#: Names that are resolved at once: those of all directories of a process.
_NAMES: Final = 2
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
#: What OpenSSL says of a certificate from an authority that is not trusted, or one that has expired.
_UNTRUSTED: Final = "certificate verify failed"
_END: Final = b"-----END CERTIFICATE-----"


class AnswerHeaders(Mapping[str, str]):
    """The fields of an answer, by name in any case. Fields of the same name are joined with a comma (RFC 9110, 5.3)."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = {name.lower(): value for name, value in fields.items()}

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


class AcmeAnswer(NamedTuple):
    """The answer to a request, whatever its status is."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class AcmeRequests:
    """Sends requests.

    :param reactor: connects, resolves names and has the clock.
    :param ca: PEM of the authorities that the server's certificate is verified with; ``None`` for those of the system.
    :param agent: sends the HTTP request; by default one of ``reactor``.
    :raises ValueError: if ``ca`` has no certificate.
    """

    def __init__(self, reactor: Any, ca: bytes | None, agent: IAgent | None = None) -> None:
        self._reactor = reactor
        self._agent = agent or quiet_agent(with_own_names(reactor, "acme-name", _NAMES), _verifying(ca))

    def __call__(
        self, method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Deferred[AcmeAnswer]:
        """Send a request. Cancel closes the connection.

        :param headers: more than User-Agent.
        :raises DirectoryUnavailable: if there is no whole answer in time. The text names the host.
        :raises AcmeError: if ``url`` is not ``https``, or the answer is too large.
        """
        asked: Deferred[AcmeAnswer] = Deferred.fromCoroutine(self._send(method, url, body, headers or {}))

        def timed_out(_: object, timeout: float) -> NoReturn:
            raise DirectoryUnavailable(f"{_host(url)} has not answered within {timeout:g} s")

        return asked.addTimeout(TIMEOUT, self._reactor, timed_out)

    async def _send(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]
    ) -> AcmeAnswer:
        for _ in range(MAX_REDIRECTS + 1):
            answer = await self._send_once(method, url, body, headers)
            where = answer.headers.get("Location")
            if method == "POST" or answer.status not in _REDIRECTS or where is None:
                return answer
            url = urljoin(url, where)
        raise AcmeError(f"{_host(url)} redirected more than {MAX_REDIRECTS} times")

    async def _send_once(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]
    ) -> AcmeAnswer:
        if not url.lower().startswith("https://"):
            raise AcmeError(f"{one_line(url)} is not an https URL, so it is not used")
        # A new client for each request, because a client keeps cookies.
        client = HTTPClient(self._agent)
        fields = Headers({"User-Agent": [f"smartproxy/{__version__}"]})
        for name, value in headers.items():
            fields.setRawHeaders(name, [value])
        try:
            response = await client.request(
                method,
                url,
                data=None if body is None else BytesBody(body),
                headers=fields,
                allow_redirects=False,
                unbuffered=True,
                reactor=self._reactor,
            )
            return AcmeAnswer(response.code, _fields(response), await _content(response, url))
        except (CancelledError, AcmeError):
            raise
        except Exception as problem:  # of the network, TLS or HTTP, or a malformed URL
            # A cancelled request must not look like one that may be sent again.
            if any(reason.check(CancelledError) for reason in _reasons(problem)):
                raise CancelledError from None
            raise DirectoryUnavailable(f"{_host(url)}: {_reason(problem)}") from problem


def _content(response: IResponse, url: str) -> Deferred[bytes]:
    return collected(response, MAX_SIZE, lambda why: AcmeError(f"{_host(url)} {why}"))


def _fields(response: IResponse) -> AnswerHeaders:
    raw = response.headers.getAllRawHeaders()
    return AnswerHeaders(
        {name.decode("latin-1"): b", ".join(values).decode("latin-1") for name, values in raw}
    )


def _host(url: str) -> str:
    """The host that a request was sent to, for messages."""
    try:
        return one_line(urlsplit(url).netloc) or one_line(url)
    except ValueError:
        return one_line(url)


def _reasons(problem: Any) -> Sequence[Failure]:
    """What is behind an exception: Twisted's agent wraps errors in a list of reasons."""
    wrapped = isinstance(problem, ResponseFailed | RequestGenerationFailed | RequestTransmissionFailed)
    return problem.reasons if wrapped else ()


def _reason(problem: Any) -> str:
    """The message of an exception in one line."""
    reasons = _reasons(problem)
    if reasons:
        problem = reasons[0].value
    return one_line(_tls_reason(problem) or str(problem)).rstrip(".") or type(problem).__name__


def _tls_reason(problem: Any) -> str:
    """Why TLS failed, without OpenSSL's files and functions; empty if it is not about TLS."""
    if isinstance(problem, VerificationError):
        return "its certificate is for another name"
    found = problem.args[0] if len(problem.args) == 1 else None
    if not isinstance(found, list) or not all(isinstance(each, tuple) and each for each in found):
        return ""
    reasons = [str(each[-1]) for each in found]
    if _UNTRUSTED in reasons:  # with others before it where an authority of the same name has another key
        return f"{_UNTRUSTED}; set acme.ca to its authority, if that is a private one"
    return "; ".join(reasons)


def _verifying(ca: bytes | None) -> BrowserLikePolicyForHTTPS:
    """Verifies chain and host name of a server's certificate."""
    if ca is None:
        return BrowserLikePolicyForHTTPS(platformTrust())
    parts = [part + _END for part in ca.split(_END)[:-1]]
    if not parts:
        raise ValueError("the authorities of the ACME directory have no certificate")
    return BrowserLikePolicyForHTTPS(trustRootFromCertificates([Certificate.loadPEM(part) for part in parts]))
