"""Groups of targets of which one is at fault: what clients see, and what is counted for each target."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
import time

from tests.live.backends import echo, reset
from tests.live.case import route
from tests.live.client import TIMEOUT
from tests.live.dead_ends import blackhole, refusing
from tests.live.terminating import INNER, TlsCase
from tests.live.waiting import until

_PRE_SHARED_KEY = 41  # RFC 8446, 4.2.11: a client that offers to resume a session


def _reset_at_once(_backend, sock):
    reset(sock)


def _close_at_once(_backend, _sock):
    """Accept and close."""


def _rubbish(_backend, sock):
    sock.sendall(b"\x00\xff rubbish\r\n")


def _offers_a_session(hello):
    """Whether the ClientHello in this TLS record has a pre-shared key."""
    at = 5 + 4 + 2 + 32
    at += 1 + hello[at]
    at += 2 + int.from_bytes(hello[at : at + 2], "big")
    at += 1 + hello[at]
    end = at + 2 + int.from_bytes(hello[at : at + 2], "big")
    at += 2
    while at < end:
        kind, length = (int.from_bytes(hello[at + skip : at + skip + 2], "big") for skip in (0, 2))
        if kind == _PRE_SHARED_KEY:
            return True
        at += 4 + length
    return False


class GroupCase(TlsCase):
    """A group called ``app`` of two targets, ``bad`` and ``good``."""

    def listening(self, bad, good, *, action=None, **keys):
        """A proxy, and its port."""
        front = self.port()
        targets = [
            {**getattr(each, "target", each), "name": name}
            for name, each in (("bad", bad), ("good", good))
            if each is not None
        ]
        made = route("app", front, *targets, action=action, **keys)
        return self.proxy(made), front

    def results(self, proxy, target):
        """The dials of a target by result, without those that are 0."""
        labels = rf'\{{group="app",result="(\w+)",target="{target}"\}}'
        page = proxy.ask("/metrics")[1].decode()
        found = re.findall(rf"^smartproxy_target_connections_total{labels} (\d+)", page, re.MULTILINE)
        return {result: int(count) for result, count in found if count != "0"}

    def state(self, proxy, target):
        (found,) = [one for one in proxy.api("targets?group=app")["targets"] if one["name"] == target]
        return found["state"], found["why"]


class NowhereTests(GroupCase):
    def test_a_target_that_does_not_answer_is_followed_by_the_next(self):
        proxy, front = self.listening(blackhole(self), self.backend(echo), connectionTimeout="400ms")
        for _ in range(6):
            sock = self.connect(front)
            self.assert_echoes(sock)
            sock.close()
        self.assertEqual(
            (self.results(proxy, "bad"), self.results(proxy, "good")), ({"timeout": 1}, {"ok": 6})
        )
        state, why = self.state(proxy, "bad")
        self.assertEqual(state, "ejected")
        self.assertRegex(why, r"^127\.0\.0\.1:\d+: Connection timed out$|timed out|no answer")
        self.assertEqual(proxy.rejected("upstream_timeout"), 0)

    def test_a_group_without_an_answer_refuses_and_counts_each_target(self):
        proxy, front = self.listening(blackhole(self), blackhole(self), connectionTimeout="300ms")
        began = time.monotonic()
        self.assert_refused(front)
        self.assertGreaterEqual(time.monotonic() - began, 0.6)
        until(lambda: proxy.rejected("upstream_timeout") == 1, "the refusal")
        self.assertEqual(
            (self.results(proxy, "bad"), self.results(proxy, "good")), ({"timeout": 1}, {"timeout": 1})
        )

    def test_one_of_thirty_clients_pays_for_a_black_hole(self):
        """Of thirty that come at once, and of thirty that come later: the others are served by the other target."""
        proxy, front = self.listening(blackhole(self), self.backend(echo), connectionTimeout="5s")
        times = self.times(front, 30)
        self.assertEqual(len(times), 30)
        self.assertLessEqual(sum(each >= 4.5 for each in times), 1, sorted(times))
        self.assertLess(sorted(times)[-2], 4.5, sorted(times))
        self.assertEqual(self.state(proxy, "bad")[0], "ejected")
        later = self.times(front, 30)
        self.assertLess(max(later), 4.5, sorted(later))
        self.assertEqual(self.results(proxy, "good"), {"ok": 60})

    def times(self, front, number):
        """The seconds until each of so many clients at once has its first byte."""
        times = []

        def ask():
            began = time.monotonic()
            with socket.create_connection(("127.0.0.1", front), TIMEOUT) as sock:
                sock.sendall(b"x")
                if sock.recv(1) == b"x":
                    times.append(time.monotonic() - began)

        clients = [threading.Thread(target=ask) for _ in range(number)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        return times


class RefusingTests(GroupCase):
    def test_a_target_that_refuses_is_left_out_after_the_first_client(self):
        proxy, front = self.listening(refusing(), self.backend(echo))
        for _ in range(10):
            sock = self.connect(front)
            self.assert_echoes(sock)
            sock.close()
        self.assertEqual(
            (self.results(proxy, "bad"), self.results(proxy, "good")), ({"refused": 1}, {"ok": 10})
        )
        self.assertIn("Connection refused", self.state(proxy, "bad")[1])
        until(lambda: "target app/bad is ejected for 10 s: " in proxy.printed, "its line")
        self.assertEqual(proxy.printed.count("is ejected"), 1)

    def test_http_clients_get_502_where_every_target_refuses(self):
        proxy, front = self.listening(refusing(), refusing(), domains=["app.test"])
        sock = self.connect(front)
        sock.sendall(b"GET / HTTP/1.1\r\nHost: app.test\r\n\r\n")
        self.assertTrue(self.read(sock, 12).endswith(b" 502"))
        self.assertEqual(
            (self.results(proxy, "bad"), self.results(proxy, "good")), ({"refused": 1}, {"refused": 1})
        )

    def test_targets_that_end_after_accepting_were_connected_to(self):
        """What was handed to a target cannot be given to another: the client sees what the target does."""
        for serve, said in (
            (_reset_at_once, b""),
            (_close_at_once, b""),
            (_rubbish, b"\x00\xff rubbish\r\n"),
        ):
            with self.subTest(serve.__name__):
                bad, good = self.backend(serve), self.backend(echo)
                proxy, front = self.listening(bad, good, action={"passiveHealth": False})
                heard = [self.ask(front) for _ in range(10)]
                self.assertEqual(set(heard), {b"words", said})
                proxy.emptied()
                results = self.results(proxy, "bad")
                self.assertEqual(sum(results.values()), bad.accepted)
                self.assertGreaterEqual({"ok", "refused"}, results.keys())
                self.assertEqual(self.results(proxy, "good"), {"ok": good.accepted})
                self.assertEqual(self.state(proxy, "bad"), ("up", None))

    def ask(self, front):
        """What a client hears until it has its words, or the end."""
        held = b""
        with contextlib.suppress(ConnectionResetError), self.connect(front) as sock:
            sock.sendall(b"words")
            while held != b"words" and (data := sock.recv(100)):
                held += data
        return held


class ResumptionTests(GroupCase):
    def test_no_client_notices_a_target_that_refuses_to_resume(self):
        """It ends the connection instead of declining the session; each connection to it has one result."""
        context, refused = self.authority.server(INNER), []

        def serve(backend, sock, *, picky):
            if _offers_a_session(sock.recv(1 << 14, socket.MSG_PEEK)) and picky:
                refused.append(1)
                reset(sock)
                return
            with context.wrap_socket(sock, server_side=True) as secure, contextlib.suppress(ssl.SSLError):
                backend.replace(sock, secure)
                echo(backend, secure)

        bad = self.backend(lambda backend, sock: serve(backend, sock, picky=True))
        good = self.backend(lambda backend, sock: serve(backend, sock, picky=False))
        tls = {"tls": {"ca": str(self.authority.file), "serverName": INNER}}
        proxy, front = self.listening({**bad.target, **tls}, {**good.target, **tls})
        for _ in range(12):
            sock = self.connect(front)
            self.assert_echoes(sock)
            sock.close()
            proxy.emptied()
        self.assertGreater(len(refused), 2)
        self.assertEqual((self.results(proxy, "bad"), self.results(proxy, "good")), ({"ok": 6}, {"ok": 6}))
        self.assertEqual((self.state(proxy, "bad"), proxy.rejected("tls_error")), (("up", None), 0))
        self.assertIn("connecting again without the former session", proxy.printed)
