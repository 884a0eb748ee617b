"""The lines of ``smartproxy explain`` about what a route changes in requests and answers."""

from __future__ import annotations

from tests.cli.asking import ExplainCase

RULED = """
defaults:
  headers: {request: {set: {X-Env: prod, X-A: all}}, response: {remove: Server}}
routes:
  - name: users
    match: {ports: 80, path: "/users/:user", query: {v: "2"}}
    action:
      targets: {host: h, port: 1}
      headers: {request: {set: {X-User: "{user}"}, add: {X-A: own}}}
      rewrite: {path: "/v2/:user", host: target}
  - name: rest
    match: {ports: 80}
    action: {targets: {host: h, port: 1}}
"""
BYTES = "action: {protocol: tcp, targets: {host: h, port: 1}}"


class HttpEffectsTests(ExplainCase):
    def ask_for(self, path: str, text: str = RULED) -> list[str]:
        return self.ask(text, "--port", "80", "--host", "a.test", "--path", path)

    def test_rules_are_shown_with_their_places(self) -> None:
        printed = self.ask_for("/users/7?v=2")
        self.assertEqual(printed[0], "route users")
        self.assertIn("  query v: wants 2, has 2", printed)
        at = printed.index("request headers:")
        self.assertEqual(
            printed[at : at + 8],
            [
                "request headers:",
                "  set X-Env: prod (defaults)",
                "  set X-User: {user} (route)",
                "  add X-A: own (route)",
                "response headers:",
                "  remove Server (defaults)",
                "rewrite: path /v2/:user, host target",
                "  /users/7?v=2 becomes /v2/7?v=2",
            ],
        )

    def test_a_refused_path_is_said(self) -> None:
        self.assertIn(
            "  /users/..?v=2 is refused with 400: a segment .. in the new path", self.ask_for("/users/..?v=2")
        )

    def test_a_route_that_forwards_bytes_has_none(self) -> None:
        text = RULED.replace("action: {targets: {host: h, port: 1}}", BYTES)
        printed = self.ask_for("/users/7?v=1", text)
        self.assertEqual(printed[0], "route rest")
        self.assertIn("not users: query v: wants 2, has 1", printed)
        self.assertNotIn("request headers:", printed)

    def test_a_request_is_read_where_another_route_is_chosen_by_requests(self) -> None:
        printed = self.ask_for("/users/7?v=1")
        self.assertEqual(printed[0], "route rest")
        self.assertIn("  set X-Env: prod (defaults)", printed)
        other = self.ask(RULED, "--port", "80")
        self.assertEqual(other[0], "route rest")
        self.assertNotIn("request headers:", other)
