"""TCP keep-alive, brought to sockets: real ones, asked with getsockopt."""

from __future__ import annotations

import socket

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.model.plan import KeepAlive, Probes
from smartproxy.net import keep_alive as keep_alive_module
from smartproxy.net.keep_alive import apply_keepalive, apply_keepalive_to_socket, differ, options
from smartproxy.testing import connection

OFF = KeepAlive(enabled=False)
SYSTEM = Probes(0, 0, 0)


def all_of(sock) -> tuple[int, int, int, int]:
    """Whether, and the probes' initial delay, interval and number."""
    return (
        int(bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))),
        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
    )


class KeepAliveTests(SynchronousTestCase):
    def fresh(self):
        sock = socket.socket()
        self.addCleanup(sock.close)
        return sock

    def test_they_reach_the_socket(self):
        sock = self.fresh()
        apply_keepalive_to_socket(sock, options(KeepAlive(probes=Probes(61, 7, 4))))
        self.assertEqual(all_of(sock), (1, 61, 7, 4))

    def test_a_minute_and_then_nine_a_quarter_of_a_minute_apart(self):
        sock = self.fresh()
        apply_keepalive_to_socket(sock, options(KeepAlive()))
        self.assertEqual(all_of(sock), (1, 60, 15, 9))

    def test_zero_is_the_systems_own(self):
        sock = self.fresh()
        _, *own = all_of(sock)
        apply_keepalive_to_socket(sock, options(KeepAlive(probes=Probes(0, 7, 0))))
        self.assertEqual(all_of(sock), (1, own[0], 7, own[2]))

    def test_what_a_socket_has_already_is_not_set(self):
        """A setsockopt costs half a microsecond, and there is one of them a connection."""
        _, *own = all_of(self.fresh())
        self.assertEqual(options(OFF, OFF), ())
        self.assertEqual(len(options(KeepAlive(probes=SYSTEM))), 1)
        self.assertEqual(len(options(KeepAlive(probes=Probes(*own)))), 1)
        self.assertEqual(len(options(KeepAlive(probes=Probes(own[0], own[1] + 1, own[2])))), 2)
        self.assertEqual(options(KeepAlive(), KeepAlive()), ())
        self.assertEqual(len(options(KeepAlive(probes=Probes(60, 15, 8)), KeepAlive())), 1)

    def test_the_probes_come_first(self):
        """Set on a socket that has keep-alive, they would start its timer anew."""
        *_, last = options(KeepAlive(probes=Probes(61, 7, 4)))
        self.assertEqual((last.name, last.value), (socket.SO_KEEPALIVE, 1))

    def test_from_anything_to_anything(self):
        """What a listener's sockets have, and what a route wants of one."""
        several = [KeepAlive(), OFF, KeepAlive(probes=SYSTEM), KeepAlive(probes=Probes(61, 7, 4))]
        for has in several:
            for wanted in several:
                once, twice = self.fresh(), self.fresh()
                apply_keepalive_to_socket(once, options(wanted))
                apply_keepalive_to_socket(twice, options(has))
                apply_keepalive_to_socket(twice, options(wanted, has))
                self.assertEqual(all_of(twice), all_of(once), (has, wanted))
                self.assertEqual(differ(wanted, has), bool(options(wanted, has)))

    def test_accepted_sockets_inherit_them(self):
        with socket.create_server(("127.0.0.1", 0)) as listening:
            apply_keepalive_to_socket(listening, options(KeepAlive(probes=Probes(61, 7, 4))))
            far = socket.create_connection(listening.getsockname())
            near, _ = listening.accept()
        self.addCleanup(far.close)
        self.addCleanup(near.close)
        self.assertEqual(all_of(near), (1, 61, 7, 4))

    def test_a_transport_without_a_socket_is_told_only_whether(self):
        transport, _ = connection(Clock())
        apply_keepalive(transport, options(KeepAlive(probes=Probes(61, 7, 4))))
        self.assertTrue(transport.getTcpKeepAlive())
        apply_keepalive(transport, options(OFF, KeepAlive()))
        self.assertFalse(transport.getTcpKeepAlive())
        apply_keepalive(StringTransport(), ())

    def test_a_system_that_does_not_know_the_probes_is_asked_only_whether(self):
        self.patch(keep_alive_module, "_PROBES", (0, 0, 0))
        self.addCleanup(keep_alive_module._system.cache_clear)
        self.addCleanup(options.cache_clear)
        keep_alive_module._system.cache_clear()
        options.cache_clear()
        sock = self.fresh()
        _, *own = all_of(sock)
        apply_keepalive_to_socket(sock, options(KeepAlive(probes=Probes(61, 7, 4))))
        self.assertEqual(all_of(sock), (1, *own))
