"""Heads of requests that ask for nothing special, which most do."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.http import terms
from smartproxy.wire.http_fields import Fields

IS_PLAIN = terms._is_plain


class PlainHeadTests(SynchronousTestCase):
    """Heads of most requests are recognised as plain; what follows from them is what the long way finds."""

    def test_plain_heads_have_the_terms_of_all_others(self):
        for lines in (
            b"",
            b"User-Agent: x\r\nReferer: /\r\nCookie: a\r\n",
            b"Connection: keep-alive\r\nAccept: */*\r\n",
            b"X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Client-Cert: 9\r\nX_Real_IP: 9.9.9.9\r\nForwarded: for=9.9.9.9\r\nProxy: x\r\n",
        ):
            fields = Fields.parse(b"Host: a\r\n" + lines)
            plain = terms._request_terms(fields, (1, 1))
            self.patch(terms, "_is_plain", lambda _: False)
            self.assertEqual(terms._request_terms(fields, (1, 1)), plain, lines)
            self.patch(terms, "_is_plain", IS_PLAIN)

    def test_whatever_asks_for_something_is_not_plain(self):
        for line in (
            b"Content-Length: 0", b"Transfer-Encoding: chunked", b"Connection: close", b"Connection: keep-alive, x",
            b"connection: Upgrade", b"Expect: 100-continue", b"Upgrade: websocket", b"TE: trailers", b"Trailer: x",
            b"Via: 1.1 a", b"traceparent: x", b"X-Request-Id: 1", b"Keep-Alive: 1", b"Proxy-Connection: close",
            b"Proxy: x", b"Forwarded: for=a", b"X-Forwarded-Prefix: /", b"x_forwarded.SERVER: a", b"X.Real.IP: a", b"X_REQUEST_ID: a",
            b"X-Forwarded-Ssl: on", b"X-Forwarded-2: a", b"x_forwarded-client.cert: a", b"X-Forwarded-: a",
        ):  # fmt: skip
            self.assertFalse(terms._is_plain(Fields.parse(b"Host: a\r\n" + line + b"\r\n")), line)
