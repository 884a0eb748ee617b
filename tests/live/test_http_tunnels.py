"""Five thousand WebSockets that say nothing: they cost little, outlive a reload, and end with their backend."""

from __future__ import annotations

import resource
import selectors
import sys

from tests.live.case import LiveCase, route
from tests.live.client import connected
from tests.live.waiting import until

_TUNNELS = 5_000
_ASKED = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
_AGREED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
#: Kibibytes of the proxy's memory for each, with both of its sockets: what is measured is 6, and a leak of one buffer is 64.
_KIB_EACH = 24
#: A server that agrees to every upgrade, and echoes.
_SERVER = f"""
import resource, sys
from twisted.internet import protocol, reactor
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
class Server(protocol.Protocol):
    agreed = False
    def dataReceived(self, data):
        self.transport.write(data if self.agreed else {_AGREED!r})
        self.agreed = True
reactor.listenTCP(int(sys.argv[1]), protocol.Factory.forProtocol(Server), backlog=8192, interface="127.0.0.1")
reactor.run()
"""


class ManyTunnelsTests(LiveCase):
    def setUp(self):
        super().setUp()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < 3 * _TUNNELS:
            self.skipTest(f"{_TUNNELS} tunnels take {2 * _TUNNELS} descriptors, and {hard} are allowed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(3 * _TUNNELS, hard), hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))

    def server(self, port):
        """A server on ``port``, running."""
        program = self.program(sys.executable, "-c", _SERVER, str(port))
        until(lambda: self._accepts(port), "the server")
        return program

    def _accepts(self, port):
        try:
            connected(port).close()
        except OSError:
            return False
        return True

    def tunnel(self, port):
        sock = connected(port)
        self.addCleanup(sock.close)
        sock.sendall(_ASKED)
        return sock

    def test_idle_ones_outlive_a_reload_and_end_with_their_backend(self):
        back = self.port()
        server = self.server(back)
        front, target = self.port(), {"host": "127.0.0.1", "port": back}
        proxy = self.proxy(route("web", front, target, action={"protocol": "http"}))
        self.assertEqual(self.read(self.tunnel(front), len(_AGREED)), _AGREED)
        before = proxy.rss
        tunnels = []
        for _ in range(_TUNNELS):  # a hundred at a time are on their way
            tunnels.append(self.tunnel(front))
            if len(tunnels) > 100:
                self.assertEqual(self.read(tunnels[-101], len(_AGREED)), _AGREED)
        for sock in tunnels[-100:]:
            self.assertEqual(self.read(sock, len(_AGREED)), _AGREED)
        self.assertLess((proxy.rss - before) / _TUNNELS, _KIB_EACH * 1024)
        self.assertEqual(proxy.ask("/api/v1/reload", "POST")[0], 200)
        self.assertEqual(proxy.active, _TUNNELS + 1)
        for sock in tunnels[::10]:
            self.assert_echoes(sock)
        server.stop()
        with selectors.DefaultSelector() as waiting:
            for sock in tunnels:
                waiting.register(sock, selectors.EVENT_READ)
            until(lambda: len(waiting.select(0)) == _TUNNELS, "the end of all")
        for sock in tunnels:
            self.assert_gone(sock)
            sock.close()
        self.server(back)
        self.assert_echoes_behind_the_answer(self.tunnel(front))

    def assert_echoes_behind_the_answer(self, sock):
        self.assertEqual(self.read(sock, len(_AGREED)), _AGREED)
        self.assert_echoes(sock)
