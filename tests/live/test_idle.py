"""A quiet connection stays open: the kernel's keep-alive is all that is done about it."""

from __future__ import annotations

import re
import time

from tests.live.backends import echo, over_tls
from tests.live.case import LiveCase, route
from tests.live.certificates import Authority
from tests.live.programs import needed, run

#: Seconds of silence. Every deadline of the path is set shorter than this, so that one that is not dropped
#: when the connection is linked would end it.
_QUIET = 2.0
_SHORT = dict.fromkeys(
    ("initialDataTimeout", "proxyHeaderTimeout", "connectionTimeout", "tlsHandshakeTimeout"), "500ms"
)


class IdleTests(LiveCase):
    def test_tls_that_passes_through(self):
        """As a quiet WebSocket is: nothing for a while, and then words again."""
        authority = Authority(self.directory)
        backend = self.backend(over_tls(authority.server("one.test"), echo))
        for acceleration in ("auto", "off"):
            with self.subTest(acceleration=acceleration):
                front = self.port()
                proxy = self.proxy(
                    route("tls", front, backend, domains=["one.test"]), acceleration=acceleration,
                    proxyIPs=["127.0.0.1"], **_SHORT,
                )  # fmt: skip
                plain = self.connect(front)
                client = authority.client().wrap_socket(plain, server_hostname="one.test")
                self.addCleanup(client.close)
                self.assert_echoes(client)
                opened = proxy.the_connection(sni="one.test")
                used = proxy.cpu
                time.sleep(_QUIET)  # silence is what is tested
                self.assertLess(proxy.cpu - used, 0.2)
                self.assert_echoes(client)
                self.assertEqual(proxy.the_connection(sni="one.test")["id"], opened["id"])

    def test_keep_alive_is_on_on_both_sides(self):
        """Or off, as configured: ``ss`` shows the timer of each of our sockets."""
        for keep_alive in (True, False):
            for acceleration in ("auto", "off"):
                with self.subTest(keepAlive=keep_alive, acceleration=acceleration):
                    self.keeps_alive(keep_alive, acceleration)

    def keeps_alive(self, keep_alive, acceleration):
        backend = self.backend(echo)
        front = self.port()
        proxy = self.proxy(route("echo", front, backend), keepAlive=keep_alive, acceleration=acceleration)
        client = self.connect(front)
        self.assert_echoes(client)
        self.assertEqual(proxy.the_connection(route="echo")["keepAlive"], keep_alive)
        ours = (f"sport = :{front}", f"dport = :{backend.port}")  # to the client, to the backend
        for side in ours:
            shown = run(needed("ss"), "-tnoH", "state", "established", side).stdout
            self.assertEqual(len(shown.splitlines()), 1, shown)
            self.assertEqual(bool(re.search(r"timer:\(keepalive,", shown)), keep_alive, shown)
