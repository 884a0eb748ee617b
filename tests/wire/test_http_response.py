"""Whole responses, as the HTTP client of the standard library reads them."""

from __future__ import annotations

import io
from http import HTTPStatus
from http.client import HTTPResponse

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.wire import http_response


class _Socket:
    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def makefile(self, *_: object) -> io.BytesIO:
        return self._file


def read(data: bytes, method: str = "GET") -> tuple[HTTPResponse, bytes, bytes]:
    """The response, its body, and what a client finds behind it."""
    sock = _Socket(data)
    response = HTTPResponse(sock, method=method)
    response.begin()
    body = response.read()
    return response, body, sock._file.read() if not sock._file.closed else b""


class BuildTests(SynchronousTestCase):
    def test_a_response_is_spelled_in_full(self):
        self.assertEqual(
            http_response.build(308, headers={"Location": "/x"}),
            b"HTTP/1.1 308 Permanent Redirect\r\nLocation: /x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        )

    def test_text_is_framed_in_bytes_and_not_in_characters(self):
        response, body, rest = read(http_response.build_text(403, "no\u2026\n"))
        self.assertEqual((response.status, response.reason), (403, "Forbidden"))
        self.assertEqual((body.decode(), rest), ("no\u2026\n", b""))
        self.assertEqual(response.getheader("Content-Type"), "text/plain; charset=utf-8")
        self.assertTrue(response.will_close)

    def test_an_empty_body_is_still_framed(self):
        response, body, _ = read(http_response.build_text(503))
        self.assertEqual((response.getheader("Content-Length"), body), ("0", b""))

    def test_a_response_to_head_has_the_length_but_not_the_body(self):
        whole = http_response.build(200, b"later")
        head = http_response.build(200, b"later", to_head=True)
        self.assertEqual(whole, head + b"later")
        response, body, rest = read(head, "HEAD")
        self.assertEqual((response.getheader("Content-Length"), body, rest), ("5", b"", b""))

    def test_204_and_304_have_neither_body_nor_length(self):
        for status in sorted(http_response.BODILESS):
            response, body, rest = read(http_response.build(status))
            self.assertEqual((response.getheader("Content-Length"), body, rest), (None, b"", b""))
            self.assertRaises(ValueError, http_response.build, status, b"body")

    def test_a_registered_status_has_a_reason_phrase(self):
        for status in HTTPStatus:
            if status >= 200:
                response, _, _ = read(http_response.build(status))
                self.assertTrue(response.reason, status)

    def test_reason_phrases_are_those_of_rfc_9110(self):
        """HTTPStatus has older ones for these four before Python 3.13."""
        for status, phrase in [
            (413, "Content Too Large"),
            (414, "URI Too Long"),
            (416, "Range Not Satisfiable"),
            (422, "Unprocessable Content"),
        ]:
            self.assertEqual(read(http_response.build(status))[0].reason, phrase)

    def test_an_unregistered_status_has_an_empty_phrase(self):
        """RFC 9112, 4: the phrase may be missing, the blank before it may not."""
        self.assertTrue(http_response.build(520).startswith(b"HTTP/1.1 520 \r\n"))

    def test_an_interim_status_is_refused(self):
        """What follows a 1xx is another response, but these end the connection."""
        self.assertRaises(ValueError, http_response.build, 101)

    def test_a_header_that_is_not_one_line_is_refused(self):
        for name, value in [
            ("X", "a\r\nSet-Cookie: b"), ("X", "a\n"), ("X", "\0"), ("X", "\xe9"), ("X y", "a"), ("", "a"), ("X:", "a"),
        ]:  # fmt: skip
            self.assertRaises(ValueError, http_response.build, 200, b"", {name: value})

    @given(
        st.integers(200, 599).filter(lambda status: status not in http_response.CONTENTLESS),
        st.binary(max_size=64),
        st.dictionaries(
            st.from_regex(r"X-[A-Za-z0-9]{1,8}", fullmatch=True),
            st.from_regex(r"([!-~]([ -~]{0,16}[!-~])?)?", fullmatch=True),
            max_size=4,
        ),
    )
    def test_a_client_reads_back_what_was_built(self, status, body, headers):
        response, received, rest = read(http_response.build(status, body, headers))
        self.assertEqual((response.status, received, rest), (status, body, b""))
        for name, value in headers.items():
            self.assertIn(value, response.headers.get_all(name))
