"""The status and the content of the answers that the proxy makes itself."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import DialFailed, Misdirected, Refused
from smartproxy.http.errors import error_answer, may_go_on, status_of, status_of_malformed
from smartproxy.model.outcome import RejectReason
from smartproxy.model.plan import ErrorPage
from smartproxy.wire import http_head
from smartproxy.wire.http_framing import OTHER_CODING
from smartproxy.wire.verdict import Malformed

#: Every other reason is a limit, or the proxy drains.
STATUS = {
    RejectReason.NO_ROUTE: 404,
    RejectReason.IP_BLOCKED: 403,
    RejectReason.IP_NOT_ALLOWED: 403,
    RejectReason.UPSTREAM_REFUSED: 502,
    RejectReason.UPSTREAM_UNREACHABLE: 502,
    RejectReason.UPSTREAM_TIMEOUT: 504,
}


class StatusTests(SynchronousTestCase):
    def test_each_reason_has_its_status(self):
        for reason in RejectReason:
            self.assertEqual(status_of(Refused(reason)), STATUS.get(reason, 503), reason)

    def test_a_host_of_another_certificate_is_misdirected(self):
        self.assertEqual(status_of(Misdirected()), 421)
        self.assertTrue(may_go_on(421, "GET"))
        self.assertFalse(may_go_on(421, "CONNECT"))
        self.assertIn(b"This connection is for another host.\n", error_answer(421))

    def test_the_tls_of_a_target_is_not_the_clients(self):
        self.assertEqual(status_of(DialFailed(RejectReason.TLS_ERROR, "expired")), 502)

    def test_each_malformed_head_has_its_status(self):
        for why, status in (
            (http_head.LINE_TOO_LONG, 414),
            (http_head.HEAD_TOO_LONG, 431),
            (http_head.TOO_MANY_HEADERS, 431),
            (http_head.OTHER_VERSION, 505),
            (OTHER_CODING, 501),
            (Malformed("anything else"), 400),
        ):
            self.assertEqual(status_of_malformed(why), status)
            self.assertFalse(may_go_on(status, "GET"))


class AnswerTests(SynchronousTestCase):
    def test_an_answer_is_framed_and_is_not_kept_by_caches(self):
        self.assertEqual(
            error_answer(404, fields={"Date": "now"}),
            b"HTTP/1.1 404 Not Found\r\nDate: now\r\nContent-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n"
            b"Content-Length: 10\r\nConnection: close\r\n\r\nNot Found\n",
        )

    def test_some_statuses_have_a_field_that_says_what_to_do(self):
        self.assertIn(b"\r\nRetry-After: 1\r\n", error_answer(503))
        self.assertIn(b"\r\nAllow: GET, ", error_answer(405))
        self.assertEqual(error_answer(405, fields={"Allow": "HEAD"}).count(b"\r\nAllow: HEAD\r\n"), 1)
        self.assertEqual(error_answer(405, fields={"Allow": "HEAD"}).count(b"\r\nAllow: "), 1)
        self.assertNotIn(b"Retry-After", error_answer(502))

    def test_a_page_has_the_type_of_its_file(self):
        page = ErrorPage("/x.html", None, b"<p>", "text/html; charset=utf-8")
        answer = error_answer(502, pages={502: page}, connection="")
        self.assertTrue(answer.endswith(b"\r\n\r\n<p>"))
        self.assertIn(b"Content-Type: text/html; charset=utf-8\r\n", answer)
        self.assertNotIn(b"Connection", answer)
        self.assertNotIn(b"<p>", error_answer(503, pages={502: page}))

    def test_a_text_cannot_leave_its_json(self):
        answer = error_answer(400, ["application/json"], text='a "b"\r\n\r\nc')
        self.assertTrue(answer.endswith(b'{"error": "a \\"b\\"\\r\\n\\r\\nc"}\n'))
