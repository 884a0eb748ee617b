"""Access to the admin listener: other hosts, and web pages that send requests through a browser on this machine."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import ConfigurationError
from smartproxy.model.plan import AdminPlan
from tests.admin.doubles import FakeControl, Listener

PATHS = ("/metrics", "/api/v1/status", "/api/v1/connections", "/nothing")


class TokenTests(SynchronousTestCase):
    def setUp(self):
        self.listener = Listener(plan=AdminPlan(address="0.0.0.0", token="s3cret"))

    def _status(self, path, *headers, method="GET"):
        return self.listener.ask(method, path, *headers, host="proxy.internal:8404").status

    def test_request_without_token_is_401_on_every_path(self):
        """Not even whether a path exists is revealed."""
        for path in PATHS:
            self.assertEqual(self._status(path), 401)
        answer = self.listener.get("/metrics")
        self.assertTrue(answer.headers["WWW-Authenticate"].startswith("Bearer"))

    def test_wrong_token_is_401(self):
        for given in (
            "wrong",
            "Bearer",
            "Bearer ",
            "Bearer s3cre",
            "Bearer s3crets",
            "Basic s3cret",
            "s3cret",
        ):
            with self.subTest(given):
                self.assertEqual(self._status("/metrics", f"Authorization: {given}"), 401)

    def test_refusal_tells_a_missing_token_from_a_wrong_one(self):
        """Who has sent a token must not be told that one is required."""
        for given, error, why in (
            (None, None, "a token is required: Authorization: Bearer TOKEN"),
            (
                "Bearer wrong",
                'error="invalid_token"',
                "the token is wrong: it must be admin.token of the configuration",
            ),
            ("Basic s3cret", None, "the token must be sent as Authorization: Bearer TOKEN"),
            ("s3cret", None, "the token must be sent as Authorization: Bearer TOKEN"),
        ):
            headers = [f"Authorization: {given}"] if given else []
            answer = self.listener.ask("GET", "/metrics", *headers, host="proxy.internal:8404")
            self.assertEqual(answer.json()["error"], why)
            self.assertEqual("invalid_token" in answer.headers["WWW-Authenticate"], error is not None)

    def test_right_token_is_accepted_with_any_host_name(self):
        self.assertEqual(self._status("/metrics", "Authorization: Bearer s3cret"), 200)
        self.assertEqual(self._status("/metrics", "authorization: bearer  s3cret"), 200)

    def test_unauthorised_drain_changes_nothing(self):
        self.assertEqual(self._status("/api/v1/drain", method="POST"), 401)
        self.assertFalse(self.listener.control.draining)

    def test_health_checks_need_no_token(self):
        self.assertEqual([self._status("/healthz"), self._status("/readyz")], [200, 200])
        self.assertEqual(self._status("/healthz/../metrics"), 401)

    def test_token_is_required_on_loopback_and_unix_socket_too(self):
        for plan in (AdminPlan(token="x"), AdminPlan(unix="/run/admin", token="x")):
            self.assertEqual(Listener(plan=plan).get("/metrics").status, 401)

    def test_listener_off_loopback_without_token_is_an_error(self):
        for address in ("", "0.0.0.0", "::", "192.0.2.1", "proxy.internal"):
            for token in (None, ""):
                with self.subTest(address), self.assertRaises(ConfigurationError):
                    Listener(plan=AdminPlan(address=address, token=token))


class BrowserTests(SynchronousTestCase):
    """A listener on loopback without a token."""

    def test_every_spelling_of_loopback_is_accepted(self):
        for host in (
            "127.0.0.1:8404",
            "localhost",
            "LOCALHOST:1",
            "[::1]:8404",
            "127.8.8.8",
            "localhost.",
            "",
        ):
            with self.subTest(host):
                self.assertEqual(Listener().get("/healthz", host=host).status, 200)

    def test_host_that_is_not_loopback_is_403(self):
        hosts = ("evil.example", "evil.example:8404", "127.0.0.1.evil.example", "localhost.evil.example",
                 "192.0.2.1", "0.0.0.0:8404", "[::", "127.0.0.1@evil.example", "2130706433")  # fmt: skip
        for host in hosts:
            with self.subTest(host):
                self.assertEqual(Listener().get("/api/v1/status", host=host).status, 403)

    def test_second_host_header_is_checked_too(self):
        self.assertIn(Listener().get("/metrics", "Host: evil.example").status, {400, 403})

    def test_cross_site_post_is_403_and_changes_nothing(self):
        for origin in ("http://evil.example", "null", "http://127.0.0.1:3000", "https://127.0.0.1", ""):
            with self.subTest(origin):
                control = FakeControl()
                answer = Listener(control).ask("POST", "/api/v1/drain", f"Origin: {origin}")
                self.assertEqual((answer.status, control.draining), (403, False))

    def test_same_origin_post_is_accepted(self):
        answer = Listener().ask("POST", "/api/v1/drain", "Origin: http://127.0.0.1:8404")
        self.assertEqual(answer.status, 202)

    def test_unix_socket_accepts_any_host(self):
        """A browser cannot reach it."""
        listener = Listener(plan=AdminPlan(unix="/run/admin.sock"))
        self.assertEqual(listener.get("/metrics", host="admin").status, 200)
