"""An idle connection stays open; only the kernel's keep-alive probes are sent."""

from __future__ import annotations

import re
import time

from tests.live.backends import echo, over_tls
from tests.live.case import LiveCase
from tests.live.certificates import Authority
from tests.live.programs import needed, run
from tests.live.waiting import settled

#: Seconds of silence. Every timeout of the control path is set shorter than this, so that one that is not
#: cancelled when the relay starts would close the connection.
_QUIET = 2.0
_SHORT = dict.fromkeys(
    ("initialDataTimeout", "proxyHeaderTimeout", "connectionTimeout", "tlsHandshakeTimeout"), "1500ms"
)


class IdleTests(LiveCase):
    def test_idle_tls_connection_stays_open(self):
        """Like an idle WebSocket: no bytes for longer than every timeout of the control path, then data again."""
        authority = Authority(self.directory)
        backend = self.backend(over_tls(authority.server("one.test"), echo))
        proxies = self.each_relay(backend, domains=["one.test"], proxyIPs=["127.0.0.1"], **_SHORT)
        clients = [self.secured(authority, front) for _, _, front in proxies]
        opened = [proxy.the_connection(sni="one.test")["id"] for _, proxy, _ in proxies]
        used = [proxy.cpu for _, proxy, _ in proxies]
        time.sleep(_QUIET)  # the silence is what is tested
        for (_, proxy, _), client, number, cpu in zip(proxies, clients, opened, used, strict=True):
            self.assertLess(proxy.cpu - cpu, 0.2)
            self.assert_echoes(client)
            self.assertEqual(proxy.the_connection(sni="one.test")["id"], number)

    def secured(self, authority, front):
        """A client that has exchanged bytes over TLS with the backend."""
        client = authority.client().wrap_socket(self.connect(front), server_hostname="one.test")
        self.addCleanup(client.close)
        self.assert_echoes(client)
        return client

    def test_keep_alive_is_set_on_both_sockets_as_configured(self):
        """``ss`` shows the keep-alive timer of each socket of the proxy."""
        backend = self.backend(echo)
        for keep_alive in (True, False):
            for relay, proxy, front in self.each_relay(backend, keepAlive=keep_alive):
                with self.subTest(keepAlive=keep_alive, relay=relay):
                    self.keeps_alive(keep_alive, proxy, front, backend)

    def timers(self, side):
        """The keep-alive timer of each socket that is connected there; ``None`` without one."""
        shown = run(needed("ss"), "-tnoH", "state", "established", side).stdout
        return [re.search(r"timer:\(keepalive,", line) and "keepalive" for line in shown.splitlines()]

    def keeps_alive(self, keep_alive, proxy, front, backend):
        client = self.connect(front)
        self.assert_echoes(client)
        self.assertEqual(proxy.the_connection(route="all")["keepAlive"], keep_alive)
        ours = (f"sport = :{front}", f"dport = :{backend.port}")  # to the client, to the backend
        for side in ours:
            # That of a target's socket is set a moment after it was connected.
            shown = settled(lambda side=side: self.timers(side))
            self.assertEqual([timer is not None for timer in shown], [keep_alive], shown)
        client.close()
        proxy.emptied()
