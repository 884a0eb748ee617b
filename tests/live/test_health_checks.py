"""Checks of targets with real sockets: over TLS, through reloads, and at the end of the process."""

from __future__ import annotations

import json
import signal
import time
from itertools import product

from tests.live.backends import echo, over_tls, page, silent
from tests.live.case import LiveCase, route
from tests.live.certificates import Authority
from tests.live.migrating import folder
from tests.live.waiting import until

ACCELERATIONS = ("auto", "off")
_FAST = {"interval": "100ms", "fall": 1, "rise": 1, "timeout": "2s"}


class CheckCase(LiveCase):
    def setUp(self):
        super().setUp()
        self.authority = Authority(self.directory)

    def checked(self, backend, acceleration="auto", *, target=(), **check):
        """A proxy before ``backend`` that checks it so; what was found."""
        shown = {**backend.target, "healthCheck": {**_FAST, **check}, **dict(target)}
        proxy = self.proxy(route("one", self.port(), shown), acceleration=acceleration)
        self.proxies_of_test = [*getattr(self, "proxies_of_test", ()), proxy]
        return until(lambda: self.last(proxy), "a check")

    def last(self, proxy):
        (one,) = proxy.api("targets")["targets"]
        return one["lastCheck"] and (one["lastCheck"]["ok"], one["lastCheck"]["detail"])


class TlsTests(CheckCase):
    def test_http_over_tls_shows_a_certificate_and_verifies_that_of_the_target(self):
        clients = Authority(folder(self, "clients"))
        certificate = str(clients.certificate("proxy"))
        context = self.authority.server("rest.test")
        context.verify_mode = 2  # ssl.CERT_REQUIRED
        context.load_verify_locations(clients.file)
        rest = self.backend(over_tls(context, page("ready")))
        tls = {
            "ca": str(self.authority.file),
            "serverName": "rest.test",
            "certFile": certificate,
            "keyFile": certificate,
        }
        for acceleration, (change, wanted) in product(
            ACCELERATIONS,
            (
                ({}, (True, "status 200, and the body contains 'ready'")),
                ({"serverName": "other.test"}, (False, "is not for other.test")),
                ({"certFile": None, "keyFile": None}, (False, "")),
            ),
        ):
            terms = {key: value for key, value in {**tls, **change}.items() if value is not None}
            ok, detail = self.checked(rest, acceleration, type="http", tls=terms, expectBody="ready")
            self.assertEqual(ok, wanted[0], detail)
            self.assertIn(wanted[1], detail)

    def test_a_port_of_its_own_may_be_without_the_tls_of_the_target(self):
        secured = self.backend(over_tls(self.authority.server("app.test"), echo))
        rest = self.backend(page("ready"))
        terms = {"tls": {"ca": str(self.authority.file), "serverName": "app.test"}}
        found = self.checked(secured, target=terms, type="http", port=rest.port, tls=False)
        self.assertEqual(found, (True, "status 200"))
        self.assertEqual(self.checked(secured, target=terms, type="tls"), (True, "connected with TLS"))

    def test_a_local_address_is_used(self):
        seen = []

        def noting(backend, sock):
            seen.append(sock.getpeername()[0])
            page("ready")(backend, sock)

        rest = self.backend(noting)
        for kind, acceleration in product(("connect", "http"), ACCELERATIONS):
            seen.clear()
            self.assertTrue(self.checked(rest, acceleration, target={"bind": "127.0.0.77"}, type=kind)[0])
            until(lambda: seen, "the target has accepted")
            self.assertEqual(set(seen), {"127.0.0.77"})


class LifecycleTests(CheckCase):
    def hanging(self, **more):
        """A proxy whose checks are in progress, for each acceleration: it has asked, and there is no answer."""
        silence = self.backend(silent)
        for acceleration in ACCELERATIONS:
            kinds = (
                {"type": "http"},
                {"type": "script", "steps": [{"send": "PING\r\n"}, {"expect": "+PONG"}]},
                {"type": "tls"},
                {"type": "connect"},
            )
            targets = [
                {**silence.target, "name": kind["type"], "healthCheck": {**_FAST, "timeout": "20s", **kind}}
                for kind in kinds
            ]
            before = silence.accepted
            proxy = self.proxy(route("one", self.port(), *targets), acceleration=acceleration, **more)
            until(lambda: silence.accepted > before + 4, "all checks in progress")  # noqa: B023 - called at once
            yield proxy

    def test_sigterm_ends_checks_in_progress(self):
        for proxy in self.hanging():
            began = time.monotonic()
            proxy.signal(signal.SIGTERM)
            self.assertEqual(proxy.wait(), 0)
            self.assertLess(time.monotonic() - began, 5)
            for word in ("Traceback", "Unhandled", "failed in its own code"):
                self.assertNotIn(word, proxy.printed)

    def test_targets_that_are_removed_in_the_middle_of_a_check(self):
        for proxy in self.hanging():
            written = json.loads(proxy.file.read_text())
            left = written["routes"][0]["action"]["targets"]
            while len(left) > 1:
                left.pop(0)
                proxy.file.write_text(json.dumps(written))
                self.assertEqual(proxy.ask("/api/v1/reload", "POST")[0], 200)
            (one,) = proxy.api("targets")["targets"]
            self.assertEqual((one["name"], one["state"]), ("connect", "up"))

    def test_reloads_in_the_middle_of_checks_do_not_repeat_them(self):
        asked = []

        def slow(_backend, sock):
            asked.append(sock.recv(4096))
            time.sleep(0.5)
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        target = {**self.backend(slow).target, "healthCheck": {**_FAST, "type": "http", "interval": "60s"}}
        target["healthCheck"] |= {"interval": "1s"}
        proxy = self.proxy(route("one", self.port(), target))
        until(lambda: asked, "a check")
        for _ in range(5):
            self.assertEqual(proxy.ask("/api/v1/reload", "POST")[0], 200)
        self.assertEqual(until(lambda: self.last(proxy), "its result"), (True, "status 200"))
        self.assertLessEqual(len(asked), 2)


class LogTests(CheckCase):
    def test_a_target_that_stays_down_is_logged_once(self):
        """However often it is checked, and whatever way it fails."""
        dead = self.backend(echo)
        dead.close()
        targets = [
            {**dead.target, "name": "refused"},
            {"host": "no-such-name.invalid", "port": 1, "name": "nameless"},
            {
                **self.backend(page("x")).target,
                "name": "wrong",
                "healthCheck": {"type": "http", "expectStatus": 204},
            },
        ]
        proxy = self.proxy(
            route("one", self.port(), *targets, action={"healthCheck": {**_FAST, "interval": "20ms"}})
        )

        def all_down():
            return {one["state"] for one in proxy.api("targets")["targets"]} == {"down"}

        until(all_down, "all being down")
        time.sleep(2)
        lines = [line for line in proxy.printed.splitlines() if " is down: " in line]
        self.assertEqual(len(lines), 3, lines)
