"""The lines of ``smartproxy explain`` about the terms of a route that speaks HTTP."""

from __future__ import annotations

from pathlib import Path

from tests.cli.asking import ExplainCase
from tests.settings.formats import folder

TERMS = """
proxyIPs: [10.9.0.0/16]
defaults:
  http: {requestTimeout: 5s, pool: {maxIdle: 2}}
  errorPages: {404: a.html, 502: a.html}
routes:
  - name: api
    match: {ports: 80, path: "/api/*", methods: [GET, POST]}
    action:
      targets: {host: h, port: 1}
      http: {maxHeaderSize: 1KiB, maxBodySize: 1MiB, websocket: {origins: "https://a.test"}}
      errorPages: {502: b.html}
  - {name: rest, match: {ports: 80}, action: {targets: {host: h, port: 1}, forwardedHeaders: false, protocol: http}}
  - {name: bytes, match: {ports: 81}, action: {targets: {host: h, port: 1}}}
  - {name: only, match: {ports: 82}, initialDataTimeout: 7s, action: {targets: {host: h, port: 1}, protocol: http}}
"""


class HttpTermsTests(ExplainCase):
    def setUp(self) -> None:
        self.folder = Path(folder(self))
        for name in ("a.html", "b.html"):
            (self.folder / name).write_text("x")

    def ask_for(self, *arguments: str, port: str = "80") -> list[str]:
        text = TERMS
        for name in ("a.html", "b.html"):
            text = text.replace(name, str(self.folder / name))
        return self.ask(text, "--port", port, "--host", "a.test", *arguments)

    def test_terms_are_shown_with_their_places(self) -> None:
        printed = self.ask_for("--path", "/api/x", "--method", "POST", "--client-ip", "192.0.2.7")
        self.assertEqual(printed[0], "route api")
        at = printed.index("http: each request of the connection has a route of its own; on this one:")
        self.assertEqual(
            printed[at + 1 : at + 21],
            [
                "  maxHeaderSize: 1KiB (route)",
                "  maxHeaders: 100 (built-in)",
                "  maxBodySize: 1MiB (route)",
                "  bodyMinimumRate: none (built-in)",
                "  requestTimeout: 5s (defaults)",
                "  keepAliveTimeout: 1m15s (built-in)",
                "  responseTimeout: 5m (built-in)",
                "  rememberHeads: true (built-in)",
                "  retries: 1 (built-in)",
                "  pool: idleTimeout 1m (built-in), maxIdle 2 (defaults)",
                "  websocket: idleTimeout 1h (built-in), origins https://a.test (route)",
                f"  errorPages.404: {self.folder}/a.html (defaults)",
                f"  errorPages.502: {self.folder}/b.html (route)",
                "  forwardedHeaders: on; in place of any of the client:",
                "    X-Forwarded-For: 192.0.2.7",
                "    X-Forwarded-Proto: http",
                "    X-Forwarded-Host: a.test",
                "    X-Forwarded-Port: 80",
                "    X-Real-IP: 192.0.2.7",
                '    Forwarded: for=192.0.2.7;proto=http;host="a.test"',
            ],
        )

    def test_what_a_trusted_proxy_sends_is_appended_to(self) -> None:
        printed = self.ask_for(
            "--path", "/api/x", "--client-ip", "10.9.0.1", "--header", "X-Forwarded-For: 192.0.2.9"
        )
        self.assertIn("  forwardedHeaders: on; appended to those of the client:", printed)
        self.assertIn("    X-Forwarded-For: 192.0.2.9, 10.9.0.1", printed)

    def test_a_request_that_is_refused_says_its_answer(self) -> None:
        for arguments, answer in (
            (("--path", "/api/" + "x" * 1100), "answered: 414 (request line too long)"),
            (("--path", "/api/x", "--header", "X: " + "y" * 1100), "answered: 431 (request head too large)"),
            (("--path", "/x", "--header", "Expect: x"), "answered: 417 (Expect other than 100-continue)"),
        ):
            self.assertIn(answer, self.ask_for(*arguments))

    def test_the_first_byte_has_a_timeout_where_nothing_has_to_be_detected(self) -> None:
        self.assertIn("  initialDataTimeout: 7s (route), for the first byte", self.ask_for(port="82"))

    def test_a_route_without_http_has_none_of_it(self) -> None:
        self.assertIn(
            "  forwardedHeaders: off; those of the client are removed", self.ask_for("--path", "/x")
        )
        self.assertFalse(any(line.startswith("http:") for line in self.ask_for(port="81")))
