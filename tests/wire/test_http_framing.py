from twisted.trial.unittest import SynchronousTestCase

from smartproxy.wire.http_fields import Fields
from smartproxy.wire.http_framing import (
    NO_BODY,
    OTHER_CODING,
    Body,
    Framing,
    answer_framing,
    request_framing,
)
from smartproxy.wire.verdict import Malformed

CHUNKED = Framing(Body.CHUNKED)
UNTIL_CLOSE = Framing(Body.UNTIL_CLOSE)


def fields(*lines):
    return Fields.parse("".join(f"{line}\r\n" for line in lines).encode("latin-1"))


def of_request(*lines, version=(1, 1)):
    return request_framing(fields(*lines), version)


def of_answer(status, *lines, version=(1, 1), to_head=False):
    return answer_framing(fields(*lines), version, status, to_head=to_head)


class RequestTests(SynchronousTestCase):
    def test_one_length_or_chunked_is_taken(self):
        self.assertEqual(of_request("Content-Length: 5"), Framing(Body.LENGTH, 5))
        self.assertEqual(of_request("content-length:\t007 "), Framing(Body.LENGTH, 7))
        self.assertEqual(of_request("TRANSFER-ENCODING: Chunked"), CHUNKED)
        self.assertEqual(of_request("Content-Length: 9223372036854775807").length, 2**63 - 1)

    def test_without_either_or_with_length_0_there_is_none(self):
        self.assertEqual(of_request("X: y"), NO_BODY)
        self.assertEqual(of_request("Content-Length: 0"), NO_BODY)

    def test_what_has_more_than_one_reading_is_refused(self):
        """The core of request smuggling (CL.TE, TE.CL, TE.TE)."""
        for lines in [
            ("Content-Length: 5", "Transfer-Encoding: chunked"),
            ("Content-Length: 5", "Content-Length: 5"),
            ("Content-Length: 5", "content-length: 6"),
            ("Content-Length: 5, 5",),
            ("Content-Length: +5",), ("Content-Length: -5",), ("Content-Length: 0x5",), ("Content-Length: 5 5",),
            ("Content-Length:",), ("Content-Length: 5.0",), ("Content-Length: \xb25",),
            ("Content-Length: 9223372036854775808",), ("Content-Length: 18446744073709551617",),
            ("Content-Length: " + "1" * 400,),
            ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
            ("Transfer-Encoding: chunked, chunked",), ("Transfer-Encoding: gzip, chunked",),
            ("Transfer-Encoding: identity",), ("Transfer-Encoding: xchunked",), ("Transfer-Encoding: chunked;q=1",),
            ("Transfer-Encoding:",), ("Transfer-Encoding: \x0bchunked".replace("\x0b", '"'),),
            ("Transfer-Encoding: ,chunked",), ("Transfer-Encoding: chunked\xa0",),
        ]:  # fmt: skip
            self.assertIsInstance(of_request(*lines), Malformed, lines)
        self.assertIsInstance(of_request("Transfer-Encoding: chunked", version=(1, 0)), Malformed)

    def test_another_coding_is_told_apart(self):
        """It is answered with 501, and everything else with 400."""
        self.assertEqual(of_request("Transfer-Encoding: gzip, chunked"), OTHER_CODING)


class AnswerTests(SynchronousTestCase):
    def test_fields_say_how_the_body_ends(self):
        self.assertEqual(of_answer(200, "Content-Length: 5"), Framing(Body.LENGTH, 5))
        self.assertEqual(of_answer(200, "Content-Length: 0"), NO_BODY)
        self.assertEqual(of_answer(500, "Transfer-Encoding: chunked"), CHUNKED)
        self.assertEqual(of_answer(200, "X: y"), UNTIL_CLOSE)

    def test_some_answers_have_no_body_whatever_the_fields_say(self):
        for status in (100, 103, 204, 304):
            self.assertEqual(of_answer(status, "Content-Length: 5"), NO_BODY)
            self.assertEqual(of_answer(status), NO_BODY)
        self.assertEqual(of_answer(200, "Content-Length: 5", to_head=True), NO_BODY)
        self.assertEqual(of_answer(200, "Transfer-Encoding: chunked", to_head=True), NO_BODY)

    def test_ambiguous_framing_is_refused_even_where_there_is_no_body(self):
        for lines in [
            ("Content-Length: 5", "Content-Length: 5"),
            ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ]:
            for status, to_head in [(200, False), (304, False), (200, True)]:
                self.assertIsInstance(of_answer(status, *lines, to_head=to_head), Malformed)
        self.assertIsInstance(of_answer(200, "Transfer-Encoding: chunked", version=(1, 0)), Malformed)
        self.assertEqual(of_answer(200, "Transfer-Encoding: gzip"), OTHER_CODING)
