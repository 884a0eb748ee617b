"""A responder asked over HTTP: what is sent, what counts as an answer, and what does not."""

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
from smartproxy.tls.ocsp.fetch import MOST, PATIENCE, OcspFetch
from tests.tls.responders import URL


class Answers(Resource):
    """Notes what it is asked, and answers all of it alike."""

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

    def test_it_is_one_post_of_a_request(self) -> None:
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

    def test_any_other_status_is_no_answer_and_a_redirect_is_not_followed(self) -> None:
        for code in (204, 301, 307, 404, 500):
            responder = Answers(b"words", code, location=URL)
            self.assertEqual(self.refused(RequestTraversalAgent(responder)), f"answered with HTTP {code}")
            self.assertEqual(len(responder.asked), 1)

    def test_as_much_as_may_come_and_one_byte_more(self) -> None:
        whole = b"a" * MOST
        self.assertEqual(self.successResultOf(self.ask(RequestTraversalAgent(Answers(whole)))), whole)
        why = self.refused(RequestTraversalAgent(Answers(whole + b"a")))
        self.assertEqual(why, f"answered with more than {MOST} bytes")

    def test_nothing_comes_in_time(self) -> None:
        asked = self.ask(RequestTraversalAgent(Answers(NOT_DONE_YET)))
        self.clock.advance(PATIENCE - 0.1)
        self.assertNoResult(asked)
        self.clock.advance(0.1)
        self.assertEqual(
            str(self.failureResultOf(asked, OcspResponderUnavailable).value),
            f"no answer within {PATIENCE:g} s",
        )

    def test_no_connection_and_no_url(self) -> None:
        self.assertIn("refused", self.refused(FailingAgent(Refused("it was refused"))))
        wrapped = ResponseNeverReceived([Failure(Refused("it was refused"))])
        self.assertIn("refused", self.refused(FailingAgent(wrapped)))
        self.assertTrue(self.refused(None, "http://[/"))

    def test_it_can_be_given_up(self) -> None:
        asked = self.ask(RequestTraversalAgent(Answers(NOT_DONE_YET)))
        asked.cancel()
        self.failureResultOf(asked, CancelledError, OcspResponderUnavailable)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class OnTheWireTests(SynchronousTestCase):
    """Over a network in memory, with the HTTP of a responder played by the test."""

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

    def test_an_answer_in_pieces_of_http_1_0(self) -> None:
        self.assertTrue(self.end.received.startswith(b"POST / HTTP/1.1\r\n"))
        self.assertTrue(self.end.received.endswith(b"\r\n\r\nquestion"))
        self.say(b"HTTP/1.0 200 OK\r\n", b"Content-Type: application/ocsp-response\r\n\r\n", b"ans", b"wer")
        self.assertNoResult(self.asked)
        self.end.fin()
        self.network.settle()
        self.assertEqual(self.successResultOf(self.asked), b"answer")

    def test_an_answer_that_is_cut_is_none(self) -> None:
        self.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nans")
        self.end.rst()
        self.network.settle()
        self.failureResultOf(self.asked, OcspResponderUnavailable)

    def test_one_that_does_not_end_is_cut_off_when_it_is_too_much(self) -> None:
        self.say(b"HTTP/1.1 200 OK\r\n\r\n", b"a" * MOST, b"a")
        self.assertIn("more than", str(self.failureResultOf(self.asked, OcspResponderUnavailable).value))
        self.assertTrue(self.end.ended or self.end.was_reset)

    def test_time_that_runs_out_in_the_middle_ends_the_connection(self) -> None:
        self.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nans")
        self.network.run(PATIENCE + 1)
        self.assertIn(
            "no answer within", str(self.failureResultOf(self.asked, OcspResponderUnavailable).value)
        )
        self.assertTrue(self.end.ended or self.end.was_reset)
        self.assertEqual(self.network.getDelayedCalls(), [])
