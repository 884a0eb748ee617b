"""One HTTP request to a directory: what is sent, what is returned, and its limits."""

from __future__ import annotations

from typing import Any

from OpenSSL.SSL import Error
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import Agent, ResponseFailed, ResponseNeverReceived
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from smartproxy._version import __version__
from smartproxy.acme.requests import MAX_REDIRECTS, MAX_SIZE, TIMEOUT, AcmeRequests, AnswerHeaders
from smartproxy.errors import AcmeError, DirectoryUnavailable
from smartproxy.testing import MemoryNetwork
from tests.tls.made import Authority

URL = "https://acme.test/directory"


class Answers(Resource):
    """Records requests, and sends the same answer to each, or the one of its path."""

    isLeaf = True

    def __init__(self, body: Any = b"", code: int = 200, **headers: str) -> None:
        super().__init__()
        self.body, self.code, self.headers = body, code, headers
        self.moved: dict[bytes, str] = {}
        self.asked: list[Any] = []

    def render(self, request: Any) -> Any:
        self.asked.append((request.method, request.uri, request.content.read(), request.requestHeaders))
        request.setResponseCode(self.code)
        for name, value in self.headers.items():
            request.setHeader(name.replace("_", "-"), value)
        if request.uri in self.moved:
            request.setResponseCode(302)
            request.setHeader("Location", self.moved[request.uri])
        return self.body


class FailingAgent:
    def __init__(self, why: Exception) -> None:
        self._why = why

    def request(self, *_request: object) -> Deferred[Any]:
        return fail(self._why)


class RequestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def ask(self, agent: Any, method: str = "GET", url: str = URL, *more: Any) -> Deferred[Any]:
        return AcmeRequests(self.clock, None, agent)(method, url, *more)

    def answered(self, server: Answers, *request: Any) -> Any:
        return self.successResultOf(self.ask(RequestTraversalAgent(server), *request))

    def refused(self, agent: Any, *request: Any, kind: type[Exception] = DirectoryUnavailable) -> str:
        return str(self.failureResultOf(self.ask(agent, *request), kind).value)


class RequestTests(RequestCase):
    def test_body_and_headers_are_sent_with_our_name(self) -> None:
        """RFC 8555, 6.1 requires a User-Agent."""
        server = Answers(b"{}")
        self.answered(server, "POST", URL, b"signed", {"Content-Type": "application/jose+json"})
        [(method, uri, body, headers)] = server.asked
        self.assertEqual((method, uri, body), (b"POST", b"/directory", b"signed"))
        self.assertEqual(headers.getRawHeaders("user-agent"), [f"smartproxy/{__version__}"])
        self.assertEqual(headers.getRawHeaders("content-type"), ["application/jose+json"])
        self.assertEqual(headers.getRawHeaders("content-length"), ["6"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_status_headers_and_body_are_returned_whatever_they_are(self) -> None:
        """Errors are documents, too."""
        for code in (200, 201, 400, 429, 503):
            answer = self.answered(Answers(b"words", code, Replay_Nonce="n"), "POST", URL, b"")
            self.assertEqual((answer.status, answer.body), (code, b"words"))
            self.assertEqual(answer.headers["replay-NONCE"], "n")
            self.assertIsNone(answer.headers.get("Location"))

    def test_head_has_no_body(self) -> None:
        """Only its nonce counts."""
        answer = self.answered(Answers(b"", Replay_Nonce="n"), "HEAD")
        self.assertEqual((answer.headers.get("Replay-Nonce"), answer.body), ("n", b""))

    def test_answer_of_the_maximum_size_is_accepted_and_no_more(self) -> None:
        """A directory must not fill our memory."""
        whole = b"a" * MAX_SIZE
        self.assertEqual(self.answered(Answers(whole)).body, whole)
        why = self.refused(RequestTraversalAgent(Answers(whole + b"a")), kind=AcmeError)
        self.assertEqual(why, f"acme.test answered with more than {MAX_SIZE} bytes")

    def test_no_answer_within_the_timeout_fails(self) -> None:
        """And leaves no timer."""
        asked = self.ask(RequestTraversalAgent(Answers(NOT_DONE_YET)))
        self.clock.advance(TIMEOUT - 0.1)
        self.assertNoResult(asked)
        self.clock.advance(0.1)
        why = str(self.failureResultOf(asked, DirectoryUnavailable).value)
        self.assertEqual(why, f"acme.test has not answered within {TIMEOUT:g} s")

    def test_failures_of_the_network_name_host_and_reason(self) -> None:
        """The line is all that an operator has."""
        for failed in (
            Refused("it was refused"),
            ResponseNeverReceived([Failure(Refused("it was refused"))]),
        ):
            why = self.refused(FailingAgent(failed))
            self.assertTrue(why.startswith("acme.test: ") and "refused" in why, why)

    def test_reasons_of_openssl_are_plain_words(self) -> None:
        """An authority that is not trusted is the first mistake with a private directory."""
        failed = Error([("SSL routines", "", "EVP lib"), ("SSL routines", "", "certificate verify failed")])
        why = self.refused(FailingAgent(ResponseNeverReceived([Failure(failed)])))
        self.assertEqual(
            why,
            "acme.test: certificate verify failed; set acme.ca to its authority, if that is a private one",
        )
        failed = Error([("SSL routines", "", "wrong version number")])
        why = self.refused(FailingAgent(ResponseNeverReceived([Failure(failed)])))
        self.assertEqual(why, "acme.test: wrong version number")

    def test_cancel_is_no_failure_that_is_repeated(self) -> None:
        """Twisted's agent reports its own cancel as a response that was never received."""
        asked = self.ask(RequestTraversalAgent(Answers(NOT_DONE_YET)))
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        wrapped = ResponseFailed([Failure(CancelledError())])
        self.failureResultOf(self.ask(FailingAgent(wrapped)), CancelledError)

    def test_malformed_authorities_are_a_value_error(self) -> None:
        """A file without a certificate would trust nobody, which looks like a failure of the directory."""
        with self.assertRaises(ValueError):
            AcmeRequests(self.clock, b"no certificate")
        AcmeRequests(self.clock, Authority().pem + b"\n" + Authority("other").pem)


class RedirectTests(RequestCase):
    def test_a_fetch_follows_redirects_to_https(self) -> None:
        """A directory may have moved."""
        server = Answers(b"{}")
        server.moved = {b"/directory": "/v2", b"/v2": "https://other.test/v3"}
        self.assertEqual(self.answered(server).status, 200)
        self.assertEqual([uri for _, uri, _, _ in server.asked], [b"/directory", b"/v2", b"/v3"])

    def test_a_redirect_to_plain_http_is_refused(self) -> None:
        """Nonces and certificates must not come from whoever is in between."""
        server = Answers(b"{}")
        server.moved = {b"/directory": "http://acme.test/v2"}
        why = self.refused(RequestTraversalAgent(server), kind=AcmeError)
        self.assertEqual(why, "http://acme.test/v2 is not an https URL, so it is not used")
        self.assertEqual(len(server.asked), 1)

    def test_a_post_is_not_redirected(self) -> None:
        """Its signature is for its URL."""
        server = Answers(b"")
        server.moved = {b"/directory": "/v2"}
        self.assertEqual(self.answered(server, "POST", URL, b"").status, 302)
        self.assertEqual(len(server.asked), 1)

    def test_a_circle_of_redirects_ends(self) -> None:
        """After as many requests as a limit says."""
        server = Answers(b"")
        server.moved = {b"/directory": "/directory"}
        self.assertIn("redirected more than", self.refused(RequestTraversalAgent(server), kind=AcmeError))
        self.assertEqual(len(server.asked), MAX_REDIRECTS + 1)

    def test_other_schemes_and_malformed_urls_are_errors(self) -> None:
        """Whatever a directory names as a resource."""
        for url in ("http://acme.test/", "ftp://acme.test/", "", "acme.test"):
            self.assertIn("not an https URL", self.refused(None, "GET", url, kind=AcmeError))
        self.assertTrue(self.refused(None, "GET", "https://[/", kind=AcmeError))


class HeaderTests(SynchronousTestCase):
    def test_names_are_found_in_any_case(self) -> None:
        """HTTP/2 servers behind a proxy send lower case."""
        headers = AnswerHeaders({"Retry-After": "5"})
        self.assertEqual((headers["RETRY-AFTER"], headers.get("retry-after"), len(headers)), ("5", "5", 1))
        self.assertIn("Retry-after", headers)
        self.assertEqual(list(headers), ["retry-after"])


class PlainAgent:
    """Sends requests for ``https`` as ``http``, so that a test can write the answer."""

    def __init__(self, network: MemoryNetwork) -> None:
        self._agent = Agent(network)

    def request(self, method: bytes, uri: bytes, *more: Any) -> Deferred[Any]:
        return self._agent.request(method, uri.replace(b"https://", b"http://", 1), *more)


class OnTheWireTests(SynchronousTestCase):
    """Over a network in memory; the test writes the HTTP of the directory."""

    def setUp(self) -> None:
        self.network = MemoryNetwork()
        server = self.network.backend("192.0.2.80", 80)
        self.asked = AcmeRequests(self.network, None, PlainAgent(self.network))("GET", "https://192.0.2.80/")
        self.network.settle()
        [self.end] = server.connections

    def say(self, *words: bytes) -> None:
        for each in words:
            self.end.write(each)
            self.network.settle()

    def assert_closed(self) -> None:
        self.assertTrue(self.end.ended or self.end.was_reset)
        self.assertEqual(self.network.getDelayedCalls(), [])

    def test_incomplete_answer_fails(self) -> None:
        """Half a chain is no chain."""
        self.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nans")
        self.end.rst()
        self.network.settle()
        self.failureResultOf(self.asked, DirectoryUnavailable)

    def test_endless_answer_is_closed_at_the_maximum_size(self) -> None:
        """It is not read to its end first."""
        self.say(b"HTTP/1.1 200 OK\r\n\r\n", b"a" * MAX_SIZE, b"a")
        self.assertIn("more than", str(self.failureResultOf(self.asked, AcmeError).value))
        self.assert_closed()

    def test_something_else_than_http_fails(self) -> None:
        """As from a wrong port."""
        self.say(b"SSH-2.0-OpenSSH_9.2\r\n")
        self.failureResultOf(self.asked, DirectoryUnavailable)

    def test_timeout_within_an_answer_closes_the_connection(self) -> None:
        """A peer that sends a byte now and then must not hold it."""
        self.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nans")
        self.network.run(TIMEOUT + 1)
        self.assertIn(
            "not answered within", str(self.failureResultOf(self.asked, DirectoryUnavailable).value)
        )
        self.assert_closed()

    def test_cancel_before_an_answer_closes_the_connection(self) -> None:
        """A stop leaves no connection."""
        self.asked.cancel()
        self.failureResultOf(self.asked, CancelledError)
        self.network.settle()
        self.assert_closed()

    def test_cancel_within_an_answer_closes_the_connection(self) -> None:
        """A stop leaves no connection."""
        self.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nans")
        self.asked.cancel()
        self.failureResultOf(self.asked, CancelledError)
        self.network.settle()
        self.assert_closed()
