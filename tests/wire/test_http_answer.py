from hypothesis import given
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.wire import http_answer
from smartproxy.wire.http_answer import AnswerHead, AnswerParser, build_head
from smartproxy.wire.http_fields import Fields
from smartproxy.wire.verdict import Malformed, NeedMore
from tests.wire.ways import PROPERTY, check, check_refused, check_remembers, check_sound, damaged, work

SIMPLE = b"HTTP/1.1 404 Not Found\r\nServer: x\r\nContent-Length: 0\r\n\r\n"
FIELDS = Fields.of([("server", "x"), ("content-length", "0")])


def parse(data):
    return http_answer.parse(data)


class AnswerTests(SynchronousTestCase):
    def test_a_head_is_parsed(self):
        check(self, parse, SIMPLE, AnswerHead(404, b"Not Found", (1, 1), FIELDS))

    def test_a_reason_may_be_empty_absent_or_in_latin_1(self):
        for line, reason in [("200 ", b""), ("200", b""), ("599 \xe9\ta", b"\xe9\ta")]:
            head = parse(f"HTTP/1.0 {line}\r\n\r\n".encode("latin-1")).value
            self.assertEqual((head.reason, head.version, head.fields), (reason, (1, 0), Fields()))

    def test_what_is_no_answer_is_refused(self):
        for data in [
            b"HTTP/2 200 OK\r\n\r\n", b"HTTP/1.2 200 OK\r\n\r\n", b"HTTP/1.1  200 OK\r\n\r\n", b"HTTP/1.1 20 OK\r\n\r\n",
            b"HTTP/1.1 2000 OK\r\n\r\n", b"HTTP/1.1 099 OK\r\n\r\n", b"HTTP/1.1 600 OK\r\n\r\n", b"HTTP/1.1\r\n\r\n",
            b"http/1.1 200 OK\r\n\r\n", b"\r\nHTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 a\rb\r\n\r\n",
            b"HTTP/1.1 200 \x00\r\n\r\n", b"HTTP/1.1 200\tOK\r\n\r\n", b"ICY 200 OK\r\n\r\n", b"SSH-2.0-x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX : y\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: y\r\n folded\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: a\nb\r\n\r\n", b"HTTP/1.1 200 OK\nX: a\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 101 + b"\r\n",
        ]:  # fmt: skip
            check_refused(self, parse, data)

    def test_a_head_without_end_is_refused_at_its_limit(self):
        begin = b"HTTP/1.1 200 OK\r\n"
        longest = begin + b"X: " + b"a" * (http_answer.HEAD_LIMIT - len(begin) - 7) + b"\r\n\r\n"
        self.assertEqual(parse(longest).consumed, http_answer.HEAD_LIMIT)
        for data in (b"X" + longest[len(begin) :], longest[: http_answer.HEAD_LIMIT - 3]):
            verdict = parse(begin + data if data[:1] == b"X" else data)
            self.assertIsInstance(verdict, Malformed if data[:1] == b"X" else NeedMore)
        self.assertIsInstance(parse(begin + b"a" * 70_000), Malformed)

    def test_pieces_are_searched_once(self):
        """A head of 60 KB in pieces of 16 bytes."""
        data = b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"a" * 60_000 + b"\r\n\r\n"
        seen, verdict = work(AnswerParser(), data, 16)
        self.assertEqual(verdict.consumed, len(data))
        self.assertLess(seen, 4 * len(data))

    def test_what_is_written_is_parsed_back(self):
        head = parse(build_head(404, b"Not Found", FIELDS.block)).value
        self.assertEqual(head, AnswerHead(404, b"Not Found", (1, 1), FIELDS))

    @PROPERTY
    @given(damaged(SIMPLE, b"HTTP/1.0 200\r\n\r\n", b"HTTP/1.1 101 \r\nUpgrade: websocket\r\n\r\n"))
    def test_arbitrary_bytes_never_raise(self, data):
        check_sound(self, parse, data)
        check_remembers(self, AnswerParser(), parse, data)
