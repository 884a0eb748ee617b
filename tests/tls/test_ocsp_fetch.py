"""A request to an OCSP responder over HTTP: what is sent, and what counts as a response."""

from __future__ import annotations

from typing import Any

from treq.testing import RequestTraversalAgent
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseNeverReceived
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from smartproxy.errors import OcspResponderUnavailable
from smartproxy.testing import MemoryNetwork
from smartproxy.tls.ocsp.fetch import MAX_SIZE, TIMEOUT, OcspFetch
from tests.tls.responders import URL


class Answers(Resource):
    """Records requests, and sends the same response to each."""

    isLeaf = True

    def __init__(self, body: Any, code: int = 200, **headers: str) -> None:
        super().__init__()
        self.body, self.code, self.headers = body, code, headers
        self.asked: list[Any] = []

    def render(self, request: Any) -> Any:
        self.asked.append((request.method, request.uri, request.content.read(), request.requestHeaders))
        request.setResponseCode(self.code)
        for name, value in self.headers.items():
            request.setHeader(name, value)
        return self.body


class FailingAgent:
    def __init__(self, why: Exception) -> None:
        self._why = why

    def request(self, *_request: object) -> Deferred[Any]:
        return fail(self._why)


class FetchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def ask(self, agent: Any, url: str = URL) -> Deferred[bytes]:
        return OcspFetch(self.clock, agent)(url, b"question")

    def refused(self, agent: Any, url: str = URL) -> str:
        return str(self.failureResultOf(self.ask(agent, url), OcspResponderUnavailable).value)

    def test_request_is_sent_in_one_post(self) -> None:
        responder = Answers(b"\x30answer")
        self.assertEqual(
            self.successResultOf(self.ask(RequestTraversalAgent(responder), URL + "ca/1?x=%2F")),
            b"\x30answer",
        )
        [(method, uri, body, headers)] = responder.asked
        self.assertEqual((method, uri, body), (b"POST", b"/ca/1?x=%2F", b"question"))
        self.assertEqual(headers.getRawHeaders("content-type"), ["application/ocsp-request"])
        self.assertEqual(headers.getRawHeaders("content-length"), ["8"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_other_status_fails_and_a_redirect_is_not_followed(self) -> None:
        for code in (204, 301, 307, 404, 500):
            responder = Answers(b"words", code, location=URL)
            self.assertEqual(self.refused(RequestTraversalAgent(responder)), f"answered with HTTP {code}")
            self.assertEqual(len(responder.asked), 1)

    def test_response_of_the_maximum_size_is_accepted_and_no_more(self) -> None:
        whole = b"a" * MAX_SIZE
        self.assertEqual(self.successResultOf(self.ask(RequestTraversalAgent(Answers(whole)))), whole)
        why = self.refused(RequestTraversalAgent(Answers(whole + b"a")))
        self.assertEqual(why, f"answered with more than {MAX_SIZE} bytes")

    def test_no_response_within_the_timeout_fails(self) -> None:
        asked = self.ask(RequestTraversalAgent(Answers(NOT_DONE_YET)))
        self.clock.advance(TIMEOUT - 0.1)
        self.assertNoResult(asked)
        self.clock.advance(0.1)
        self.assertEqual(
            str(self.failureResultOf(asked, OcspResponderUnavailable).value),
            f"no answer within {TIMEOUT:g} s",
        )

    def test_refused_connection_and_malformed_url_fail(self) -> None:
        self.assertIn("refused", self.refused(FailingAgent(Refused("it was refused"))))
        wrapped = ResponseNeverReceived([Failure(Refused("it was refused"))])
        self.assertIn("refused", self.refused(FailingAgent(wrapped)))
        self.assertTrue(self.refused(None, "http://[/"))

    def test_cancel_leaves_no_delayed_call(self) -> None:
        asked = self.ask(RequestTraversalAgent(Answers(NOT_DONE_YET)))
        asked.cancel()
        self.failureResultOf(asked, CancelledError, OcspResponderUnavailable)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class OnTheWireTests(SynchronousTestCase):
    """Over a network in memory; the test writes the HTTP of the responder."""

    def setUp(self) -> None:
        self.network = MemoryNetwork()
        self.responder = self.network.backend("192.0.2.80", 80)
        self.asked = OcspFetch(self.network)("http://192.0.2.80/", b"question")
        self.network.settle()
        [self.end] = self.responder.connections

    def say(self, *words: bytes) -> None:
        for each in words:
            self.end.write(each)
            self.network.settle()

    def test_http_1_0_response_in_pieces_ends_with_its_connection(self) -> None:
        self.assertTrue(self.end.received.startswith(b"POST / HTTP/1.1\r\n"))
        self.assertTrue(self.end.received.endswith(b"\r\n\r\nquestion"))
        self.say(b"HTTP/1.0 200 OK\r\n", b"Content-Type: application/ocsp-response\r\n\r\n", b"ans", b"wer")
        self.assertNoResult(self.asked)
        self.end.fin()
        self.network.settle()
        self.assertEqual(self.successResultOf(self.asked), b"answer")

    def test_incomplete_response_fails(self) -> None:
        self.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nans")
        self.end.rst()
        self.network.settle()
        self.failureResultOf(self.asked, OcspResponderUnavailable)

    def test_endless_response_is_closed_at_the_maximum_size(self) -> None:
        self.say(b"HTTP/1.1 200 OK\r\n\r\n", b"a" * MAX_SIZE, b"a")
        self.assertIn("more than", str(self.failureResultOf(self.asked, OcspResponderUnavailable).value))
        self.assertTrue(self.end.ended or self.end.was_reset)

    def test_timeout_within_a_response_closes_the_connection(self) -> None:
        self.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nans")
        self.network.run(TIMEOUT + 1)
        self.assertIn(
            "no answer within", str(self.failureResultOf(self.asked, OcspResponderUnavailable).value)
        )
        self.assertTrue(self.end.ended or self.end.was_reset)
        self.assertEqual(self.network.getDelayedCalls(), [])
