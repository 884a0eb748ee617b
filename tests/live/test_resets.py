"""RST in every phase, from either side: nothing is left, nothing is logged that should not be, gauges are at 0."""

from __future__ import annotations

import contextlib
import os

from tests.live.backends import banner, echo, read_to_end, reset
from tests.live.case import LiveCase, route
from tests.live.dead_ends import blackhole
from tests.live.waiting import until

#: Resets of one kind in a test.
_EACH = 20
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


def _flood(_backend, sock):
    while True:
        sock.sendall(bytes(1 << 16))


class ClientResetTests(LiveCase):
    def test_in_every_phase(self):
        for acceleration in ("auto", "off"):
            with self.subTest(acceleration=acceleration):
                self.in_every_phase(acceleration)

    def in_every_phase(self, acceleration):
        """Each phase five times, and then what is left."""
        named, dialing, idle, bulk = (self.port() for _ in range(4))
        proxy = self.proxy(
            route("named", named, self.backend(echo), domains=["live.test"]),
            route("dialing", dialing, blackhole(self)),
            route("idle", idle, self.backend(banner)),
            route("bulk", bulk, self.backend(_flood)),
            acceleration=acceleration, proxyIPs=["127.0.0.0/8"], acceptProxyProtocol=True,
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
    """The transport relay is only as good as Twisted's epoll reactor here, and that has a race with the kernel.

    On a RST the kernel sets the socket's state to closed first and its shutdown flags a moment later (tcp_done() in
    net/ipv4/tcp.c). An epoll_wait() on another CPU may run in between and then returns EPOLLHUP without EPOLLIN, for
    which Twisted reports ConnectionDone: the reset looks like a FIN and is forwarded as one. About 3 % of resets are
    reported so on two CPUs, none where the proxy and the program that resets share one, since the kernel does both
    steps in a softirq, which no process interrupts. So that resets are forwarded is asserted for the transport relay
    on one CPU, which leaves only faults of our own. Across CPUs it is not asserted; what holds even then has its own
    test. The splice relay asks the socket itself and has to forward every reset.
    """

    def setUp(self):
        super().setUp()
        self.cpu = {min(os.sched_getaffinity(0))}

    def on_one_cpu(self, serve):
        """``serve`` on the one CPU; the affinity is that of its thread (sched_setaffinity(2))."""

        def pinned(backend, sock):
            os.sched_setaffinity(0, self.cpu)
            serve(backend, sock)

        return pinned

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
            for relay, proxy, front in self.each_relay(self.backend(self.on_one_cpu(serve))):
                with self.subTest(relay=relay, serve=serve.__name__):
                    if relay == "transport":
                        os.sched_setaffinity(proxy.pid, self.cpu)
                    for count in range(1, _EACH + 1):
                        self.assertTrue(self.is_cut(front))
                        proxy.emptied()
                        # The RST may come so early that connecting itself has failed.
                        cut = proxy.closed("upstream_reset") + proxy.rejected("upstream_refused")
                        self.assertEqual(cut, count)

    def test_on_several_cpus_it_is_counted_as_it_was_passed_on(self):
        """The transport relay may take a reset for an end there; then both the client and the counters see that."""
        front = self.port()
        proxy = self.proxy(route("all", front, self.backend(_reset_after_a_byte)), acceleration="off")
        cut = sum(self.is_cut(front) for _ in range(_EACH))
        proxy.emptied()
        self.assertEqual((proxy.closed("upstream_reset"), proxy.closed("normal")), (cut, _EACH - cut))
