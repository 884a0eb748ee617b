"""Routes that speak HTTP: what is refused, and what their terms compile to."""

from __future__ import annotations

import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from smartproxy import Route
from smartproxy.errors import ConfigurationError
from smartproxy.model.plan import HttpPlan
from smartproxy.settings import Settings
from smartproxy.settings.compile.handlers import Handlers
from smartproxy.settings.compile.http import ports_by_request, speaks_after_request

TARGET = "targets: [{host: 10.0.0.1, port: 80}]"
PASSES = "cannot be read as HTTP: the route passes TLS through; it needs tls.mode terminate"

#: Keys of the action, keys of the match, and the problem with them.
PROBLEMS = (
    ("protocol: tcp, http: {retries: 0}", "", 'action.http: has no meaning for protocol "tcp"'),
    (
        "protocol: tcp, forwardedHeaders: false",
        "",
        'action.forwardedHeaders: has no meaning for protocol "tcp"',
    ),
    ("protocol: http, tls: {mode: passthrough}", "", f"action.protocol: {PASSES}"),
    ("protocol: http", ", protocol: tls", f"action.protocol: {PASSES}"),
    ("protocol: http", ", protocol: tcp", 'match.protocol: is "tcp", but action.protocol is "http"'),
    ("protocol: http, http: {retries: 2}", "", "action.http.retries: must be at most 1 (got 2)"),
    ("protocol: http, http: {retrys: 1}", "", 'action.http.retrys: unknown key; did you mean "retries"?'),
    (
        "http: {maxHeaderSize: 129KiB}",
        "",
        'action.http.maxHeaderSize: must be 1 KiB to 128 KiB ("64KiB") (got "129KiB")',
    ),
    ("http: {maxHeaders: 0}", "", "action.http.maxHeaders: must be at least 1 (got 0)"),
    (
        "http: {bodyMinimumRate: -1}",
        "",
        'action.http.bodyMinimumRate: must be 0 to 1 TiB ("1024GiB") (got -1)',
    ),
    (
        "protocol: tcp, errorPages: {}",
        "",
        'action.errorPages: has no meaning for protocol "tcp"',
    ),
    ("errorPages: {200: a}", "", 'action.errorPages.200: must be a status from 400 to 599 (got "200")'),
    ("errorPages: {5xx: a}", "", 'action.errorPages.5xx: must be a status from 400 to 599 (got "5xx")'),
    ("errorPages: {502: ''}", "", 'action.errorPages.502: must be a string that is not empty (got "")'),
    (
        "http: {websocket: {origins: [example.com]}}",
        "",
        'action.http.websocket.origins[0]: must be an origin like "https://example.com", without a path, or "null" (got "example.com")',
    ),
    ("errorPages: sorry.html", "", 'action.errorPages: must be a mapping (got "sorry.html")'),
)


def plan(action, match="", top=""):
    text = f"{top}\nroutes: [{{name: web, match: {{ports: 80{match}}}, action: {{{TARGET}{action and ', '}{action}}}}}]"
    return Settings.parse(text, "yaml").compile().routes[0].http


class ErrorPageSettingsTests(SynchronousTestCase):
    def setUp(self):
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def load(self, pages, defaults="{}"):
        file = self.folder / "proxy.yaml"
        file.write_text(
            f"defaults: {{errorPages: {defaults}}}\nroutes:\n  - name: web\n    match: {{ports: 80}}\n"
            f"    action:\n      {TARGET}\n      errorPages:\n        {pages}\n"
        )
        return Settings.load(file)

    def test_a_file_that_cannot_be_used_is_refused_with_its_key_and_line(self):
        (self.folder / "big.html").write_bytes(b"x" * ((1 << 20) + 1))
        for name, why in [
            ("none.html", "cannot be read: No such file or directory"),
            ("../" + self.folder.name, "cannot be read: Is a directory"),
            ("big.html", "is larger than 1 MiB"),
        ]:
            with self.assertRaises(ConfigurationError) as caught:
                self.load(f"502: {name}")
            place = f"{self.folder}/proxy.yaml:8: routes[0].action.errorPages.502"
            self.assertEqual(caught.exception.problems, [f"{place}: {self.folder}/{name}: {why}"])

    def test_pages_are_read_once_and_inherited_status_by_status(self):
        for name, content in (("a.html", "A"), ("b", "B")):
            (self.folder / name).write_text(content)
        made = self.load('"502": a.html', "{502: b, 404: b}").compile()
        pages = made.routes[0].http.error_pages
        self.assertEqual({status: page.content for status, page in pages.items()}, {502: b"A", 404: b"B"})
        self.assertIs(made.error_pages[502], made.error_pages[404])
        self.assertEqual(
            [page.content_type for page in made.page_files],
            ["text/plain; charset=utf-8", "text/html; charset=utf-8"],
        )

    def test_a_route_that_answers_requests_itself_may_have_pages(self):
        """A site has its own page for what it does not have, and any route refuses requests."""
        text = "routes: [{{name: a, match: {{ports: 80}}, action: {{errorPages: {{404: {}}}, {}}}}}]"
        page = self.folder / "a.html"
        page.write_text("A")
        for action in (
            f"type: static, root: {self.folder}",
            "type: redirect, to: /b",
            "type: respond, response: {status: 200}",
        ):
            made = Settings.parse(text.format(page, action), "yaml").compile().routes[0].http
            self.assertEqual(made.error_pages[404].content, b"A")
        for action, type_ in (("type: block", "block"), ("type: respond, response: {body: a}", "respond")):
            with self.assertRaises(ConfigurationError) as caught:
                Settings.parse(text.format(page, action), "yaml")
            self.assertIn(f'errorPages: has no meaning for type "{type_}"', str(caught.exception))

    def test_a_page_that_was_valid_once_is_kept(self):
        """A program compiles its settings when it starts: a file that is lost meanwhile must not stop it."""
        (self.folder / "a.html").write_text("A")
        settings = self.load("502: a.html")
        (self.folder / "a.html").unlink()
        self.assertEqual(settings.compile().routes[0].http.error_pages[502].content, b"A")


class HttpSettingsTests(SynchronousTestCase):
    def test_contradictions_are_refused(self):
        for action, match, problem in PROBLEMS:
            with self.assertRaises(ConfigurationError) as caught:
                plan(action, match)
            self.assertEqual(
                [str(each).partition("routes[0].")[2] for each in caught.exception.problems], [problem]
            )

    def test_http_is_spoken_where_the_route_says_so_or_uses_it(self):
        self.assertIsNone(plan(""))
        self.assertIsNone(plan("protocol: tcp"))
        for action in ("protocol: http", "http: {}", "forwardedHeaders: true", "errorPages: {}"):
            self.assertEqual(plan(action), HttpPlan(), action)

    def test_a_route_inherits_key_by_key(self):
        top = "defaults: {http: {requestTimeout: 5s, maxBodySize: 1MiB, pool: {maxIdle: 2, idleTimeout: 3s}}}"
        limits = plan("http: {maxHeaderSize: 8KiB, maxHeaders: 30, bodyMinimumRate: 1KiB}")
        self.assertEqual((limits.head, limits.body_rate), ((8192, 30), 1024))
        terms = plan("protocol: http, http: {maxBodySize: 2MiB, pool: {maxIdle: 9}}", top=top)
        self.assertEqual(
            terms, HttpPlan(request_timeout=5.0, max_body=2 << 20, most_idle=9, idle_timeout=3.0)
        )


class PortsByRequestTests(SynchronousTestCase):
    def test_thousands_of_routes_on_ranges_of_ports_take_linear_time(self):
        action = {"targets": [{"host": "10.0.0.1", "port": 80}]}
        asking = [
            Route(name=f"p{n}", match={"ports": f"{30000 + n}-{40000 + n}", "path": "/x"}, action=action)
            for n in range(3000)
        ]
        others = [Route(name=f"d{n}", match={"ports": "10000-19999"}, action=action) for n in range(3000)]
        settings = Settings(routes=[*asking, *others])
        began = time.process_time()
        by_request = ports_by_request(settings, Handlers(Path()))
        speaking = [route.name for route in settings.routes if speaks_after_request(route, by_request)]
        self.assertLess(time.process_time() - began, 0.7)
        self.assertEqual(speaking, [route.name for route in asking])
