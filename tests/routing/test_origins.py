"""Origins of web pages: which are valid, and how browsers write them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.routing.origins import normalise_origin


class OriginTests(SynchronousTestCase):
    def test_an_origin_is_written_as_a_browser_sends_it(self) -> None:
        for written, sent in (
            ("https://example.com", "https://example.com"),
            ("HTTPS://Example.com/", "https://example.com"),
            ("https://example.com:443", "https://example.com"),
            ("http://example.com:80", "http://example.com"),
            ("http://example.com:443", "http://example.com:443"),
            ("https://b\u00fccher.example", "https://xn--bcher-kva.example"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("http://127.0.0.1", "http://127.0.0.1"),
            ("chrome-extension://abcdefgh", "chrome-extension://abcdefgh"),
            ("null", "null"),
        ):
            self.assertEqual(normalise_origin(written), sent)

    def test_what_no_browser_sends_is_refused(self) -> None:
        """Every WebSocket would get 403."""
        for written in (
            "",
            "example.com",
            "*",
            "https://*.example.com",
            "https://example.com/app",
            "https://a b",
            5,
        ):
            with self.assertRaises(ValueError) as caught:
                normalise_origin(written)
            self.assertIn('must be an origin like "https://example.com"', str(caught.exception))
