"""RST in every phase, from either side: nothing is left, nothing is logged that should not be, gauges are at 0."""

from __future__ import annotations

import contextlib

from tests.live.backends import banner, echo, read_to_end, reset
from tests.live.case import WAYS, LiveCase, route
from tests.live.dead_ends import blackhole
from tests.live.waiting import until

#: Resets of one kind in a test.
_EACH = 20
_ANSWER = bytes(200)
_PHASES = {
    "before a byte": b"",
    "within a PROXY header": b"PROXY TCP4 192.0",
    "within a ClientHello": b"\x16\x03\x01\x02\x00\x01\x00",
    "within a request head": b"GET / HTTP/1.1\r\nHo",
}


def _reset_at_once(_backend, sock):
    reset(sock)


def _reset_after_a_byte(_backend, sock):
    sock.recv(1)
    sock.sendall(b"x" * 10)
    reset(sock)


def _answer_and_close(_backend, sock):
    sock.recv(1)
    sock.sendall(_ANSWER)


def _flood(_backend, sock):
    while True:
        sock.sendall(bytes(1 << 16))


class ClientResetTests(LiveCase):
    def test_in_every_phase(self):
        for way in WAYS:
            with self.subTest(way=way):
                self.in_every_phase(way)

    def in_every_phase(self, way):
        """Each phase five times, and then what is left."""
        named, dialing, idle, bulk = (self.port() for _ in range(4))
        proxy = self.proxy(
            route("named", named, self.backend(echo), domains=["live.test"]),
            route("dialing", dialing, blackhole(self)),
            route("idle", idle, self.backend(banner)),
            route("bulk", bulk, self.backend(_flood)),
            **way, proxyIPs=["127.0.0.0/8"], acceptProxyProtocol=True,
        )  # fmt: skip
        descriptors = self.at_rest(proxy)
        for words in _PHASES.values():
            self.reset_all(proxy, named, lambda sock, words=words: sock.sendall(words))
        self.reset_all(proxy, dialing, lambda sock: sock.sendall(b"PROXY UNKNOWN\r\nwords"))
        self.reset_all(proxy, idle, lambda sock: (sock.sendall(b"PROXY UNKNOWN\r\n"), sock.recv(3)))
        self.reset_all(proxy, bulk, lambda sock: (sock.sendall(b"PROXY UNKNOWN\r\n"), sock.recv(100_000)))
        self.assertEqual(proxy.metrics["connections"]["byRoute"], {})
        self.assertEqual(proxy.metrics["connections"]["byIP"], {})
        self.assertGreaterEqual(proxy.closed("client_reset"), 5)
        kept = 2 * 5  # the pool keeps the pipes of the five bulk transfers: two descriptors each
        until(lambda: self.at_rest(proxy) <= descriptors + kept, "descriptors closed")

    def at_rest(self, proxy):
        proxy.emptied()
        return proxy.descriptors

    def reset_all(self, proxy, port, begin):
        opened = proxy.metrics["totals"]["connections"]
        clients = [self.connect(port) for _ in range(5)]
        for each in clients:
            begin(each)
        until(lambda: proxy.metrics["totals"]["connections"] == opened + 5, "all accepted")
        for each in clients:
            reset(each)
        proxy.emptied()


class BackendResetTests(LiveCase):
    """Every relay forwards every reset.

    On a RST the kernel sets the socket's state to closed first and its shutdown flags a moment later (tcp_done() in
    net/ipv4/tcp.c). An epoll_wait() on another CPU may run in between and then returns EPOLLHUP without EPOLLIN, which
    Twisted takes for a FIN: about 3 % of resets on two CPUs. So the transport relay asks the socket, too.
    """

    def is_cut(self, front):
        """Whether a client whose backend resets sees a RST, and not a clean end."""
        try:
            with contextlib.closing(self.connect(front)) as client:  # which may see it already
                client.sendall(b"words")
                read_to_end(client)
        except ConnectionError:
            return True
        return False

    def test_it_is_passed_on_as_a_reset(self):
        """After accepting, and after a word: the client hears no clean end."""
        for serve in (_reset_at_once, _reset_after_a_byte):
            for relay, proxy, front in self.each_relay(self.backend(serve)):
                with self.subTest(relay=relay, serve=serve.__name__):
                    for count in range(1, _EACH + 1):
                        self.assertTrue(self.is_cut(front))
                        proxy.emptied()
                        # The RST may come so early that connecting itself has failed.
                        cut = proxy.closed("upstream_reset") + proxy.rejected("upstream_refused")
                        self.assertEqual(cut, count)

    def test_the_last_bytes_before_it_are_delivered(self):
        """The target answers and closes with unread input: its kernel sends a RST at once, which overtakes the FIN."""
        for relay, proxy, front in self.each_relay(self.backend(_answer_and_close)):
            with self.subTest(relay=relay):
                for _ in range(_EACH):
                    with contextlib.closing(self.connect(front)) as client:
                        client.sendall(b"ask and more")
                        self.assertEqual(self.read(client, len(_ANSWER)), _ANSWER)
                        self.assertRaises(ConnectionError, client.recv, 1)
                proxy.emptied()
                self.assertEqual(proxy.closed("upstream_reset"), _EACH)
