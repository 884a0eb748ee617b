"""TCP keep-alive of real sockets, read back with getsockopt."""

from __future__ import annotations

import socket

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.flow.deadline import TICK, Deadlines
from smartproxy.model.plan import KeepAlive, Probes
from smartproxy.net import keep_alive as keep_alive_module
from smartproxy.net.keep_alive import (
    YoungSockets,
    apply_keepalive,
    apply_keepalive_to_socket,
    differ,
    options,
    without_probes,
)
from smartproxy.testing import connection

OFF = KeepAlive(enabled=False)
SYSTEM = Probes(0, 0, 0)


def user_timeout_of(sock) -> int:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)


def all_of(sock) -> tuple[int, int, int, int]:
    """Whether keep-alive is enabled, and the probes' initial delay, interval and number."""
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

    def test_the_options_reach_the_socket(self):
        sock = self.fresh()
        apply_keepalive_to_socket(sock, options(KeepAlive(probes=Probes(61, 7, 4))))
        self.assertEqual(all_of(sock), (1, 61, 7, 4))

    def test_the_default_is_a_minute_and_nine_probes_15_s_apart(self):
        sock = self.fresh()
        apply_keepalive_to_socket(sock, options(KeepAlive()))
        self.assertEqual(all_of(sock), (1, 60, 15, 9))

    def test_zero_keeps_the_systems_default(self):
        sock = self.fresh()
        _, *own = all_of(sock)
        apply_keepalive_to_socket(sock, options(KeepAlive(probes=Probes(0, 7, 0))))
        self.assertEqual(all_of(sock), (1, own[0], 7, own[2]))

    def test_options_that_a_socket_has_already_are_not_set(self):
        """Each setsockopt costs half a microsecond of every connection."""
        _, *own = all_of(self.fresh())
        self.assertEqual(options(OFF, OFF), ())
        self.assertEqual(len(options(KeepAlive(probes=SYSTEM))), 1)
        self.assertEqual(len(options(KeepAlive(probes=Probes(*own)))), 1)
        self.assertEqual(len(options(KeepAlive(probes=Probes(own[0], own[1] + 1, own[2])))), 2)
        self.assertEqual(options(KeepAlive(), KeepAlive()), ())
        self.assertEqual(len(options(KeepAlive(probes=Probes(60, 15, 8)), KeepAlive())), 1)

    def test_user_timeout_is_independent_of_keep_alive(self):
        for enabled in (True, False):
            sock = self.fresh()
            wanted = without_probes(KeepAlive(enabled=enabled, user_timeout=90_000))
            apply_keepalive_to_socket(sock, options(wanted))
            self.assertEqual(user_timeout_of(sock), 90_000)
            self.assertEqual(all_of(sock)[0], enabled)
        self.assertEqual(len(options(without_probes(KeepAlive(enabled=False)))), 0)

    def test_user_timeout_0_costs_no_option(self):
        self.assertNotIn(
            socket.TCP_USER_TIMEOUT, [option.name for option in options(KeepAlive(user_timeout=0))]
        )

    def test_the_probes_are_set_before_keep_alive_is_enabled(self):
        """Setting them on a socket with keep-alive would restart its timer."""
        *_, last = options(KeepAlive(probes=Probes(61, 7, 4)))
        self.assertEqual((last.name, last.value), (socket.SO_KEEPALIVE, 1))

    def test_any_keep_alive_can_be_changed_to_any_other(self):
        """A listener sets one keep-alive, and a route may require another."""
        several = [
            KeepAlive(),
            OFF,
            KeepAlive(probes=SYSTEM),
            KeepAlive(probes=Probes(61, 7, 4)),
            KeepAlive(user_timeout=60_000),
            KeepAlive(enabled=False, user_timeout=90_000),
        ]
        for has in several:
            for wanted in several:
                once, twice = self.fresh(), self.fresh()
                apply_keepalive_to_socket(once, options(wanted))
                apply_keepalive_to_socket(twice, options(has))
                apply_keepalive_to_socket(twice, options(wanted, has))
                self.assertEqual(all_of(twice), all_of(once), (has, wanted))
                self.assertEqual(user_timeout_of(twice), user_timeout_of(once), (has, wanted))
                self.assertEqual(differ(wanted, has), bool(options(wanted, has)))

    def test_accepted_sockets_inherit_the_options(self):
        with socket.create_server(("127.0.0.1", 0)) as listening:
            apply_keepalive_to_socket(
                listening, options(KeepAlive(probes=Probes(61, 7, 4), user_timeout=90_000))
            )
            far = socket.create_connection(listening.getsockname())
            near, _ = listening.accept()
        self.addCleanup(far.close)
        self.addCleanup(near.close)
        self.assertEqual((all_of(near), user_timeout_of(near)), ((1, 61, 7, 4), 90_000))

    def test_a_transport_without_a_socket_is_only_switched(self):
        transport, _ = connection(Clock())
        apply_keepalive(transport, options(KeepAlive(probes=Probes(61, 7, 4))))
        self.assertTrue(transport.getTcpKeepAlive())
        apply_keepalive(transport, options(OFF, KeepAlive()))
        self.assertFalse(transport.getTcpKeepAlive())
        apply_keepalive(StringTransport(), ())

    def test_without_probe_options_keep_alive_is_only_switched(self):
        self.patch(keep_alive_module, "_PROBES", (0, 0, 0))
        self.addCleanup(keep_alive_module._system.cache_clear)
        self.addCleanup(options.cache_clear)
        keep_alive_module._system.cache_clear()
        options.cache_clear()
        sock = self.fresh()
        _, *own = all_of(sock)
        apply_keepalive_to_socket(sock, options(KeepAlive(probes=Probes(61, 7, 4))))
        self.assertEqual(all_of(sock), (1, *own))


class OnSocket:
    """A transport of a socket."""

    def __init__(self, sock):
        self.getHandle = lambda: sock


class YoungSocketsTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)
        self.deadlines.start()
        self.addCleanup(self.deadlines.stop)
        self.young = YoungSockets(self.deadlines.call_later)

    def added(self, initial=61):
        sock = socket.socket()
        self.addCleanup(sock.close)
        self.young.add(OnSocket(sock), options(KeepAlive(probes=Probes(initial, 7, 4))))
        return sock

    def test_options_are_set_at_the_next_sweep(self):
        first, second = self.added(), self.added(62)
        self.assertEqual(all_of(first)[0], 0)
        self.clock.advance(TICK)
        self.assertEqual((all_of(first), all_of(second)), ((1, 61, 7, 4), (1, 62, 7, 4)))
        third = self.added()
        self.clock.advance(TICK)
        self.assertEqual(all_of(third), (1, 61, 7, 4))

    def test_sockets_that_are_closed_by_then_are_left_alone(self):
        """Their number may be that of another one."""
        closed, live = self.added(), self.added()
        number = closed.fileno()
        closed.close()
        other = socket.socket()
        self.addCleanup(other.close)
        self.assertEqual(other.fileno(), number)
        self.clock.advance(TICK)
        self.assertEqual((all_of(other)[0], all_of(live)[0]), (0, 1))
        self.assertEqual(len(self.deadlines), 0)

    def test_a_transport_without_a_socket_is_switched_at_once(self):
        transport, _ = connection(Clock())
        self.young.add(transport, options(KeepAlive()))
        self.assertTrue(transport.getTcpKeepAlive())
