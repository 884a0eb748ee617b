"""Routes that speak HTTP: what is refused, and what their terms compile to."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import ConfigurationError
from smartproxy.model.plan import HttpPlan
from smartproxy.settings import Settings

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
)


def plan(action, match="", top=""):
    text = f"{top}\nroutes: [{{name: web, match: {{ports: 80{match}}}, action: {{{TARGET}{action and ', '}{action}}}}}]"
    return Settings.parse(text, "yaml").compile().routes[0].http


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
        for action in ("protocol: http", "http: {}", "forwardedHeaders: true"):
            self.assertEqual(plan(action), HttpPlan(), action)

    def test_a_route_inherits_key_by_key(self):
        top = "defaults: {http: {requestTimeout: 5s, maxBodySize: 1MiB, pool: {maxIdle: 2, idleTimeout: 3s}}}"
        terms = plan("protocol: http, http: {maxBodySize: 2MiB, pool: {maxIdle: 9}}", top=top)
        self.assertEqual(
            terms, HttpPlan(request_timeout=5.0, max_body=2 << 20, most_idle=9, idle_timeout=3.0)
        )
