"""Each kind of zombie on real loopback sockets, with both relays."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.connections.timeouts import ConnectionTimeouts
from smartproxy.connections.zombies import ZombieSweep
from smartproxy.flow.deadline import Deadlines
from smartproxy.model.address import Endpoint
from smartproxy.model.facts import Accepted
from smartproxy.model.outcome import CloseReason, ConnectionState
from smartproxy.model.plan import KeepAlive, MatchPlan, RoutePlan, Treatment, ZombiePlan
from tests.connections.made import RegistryFixture
from tests.relays.worlds import CopyWorld, SocketWorld, SpliceWorld

IMMORTAL = RoutePlan(
    "web", 0, MatchPlan((range(443, 444),)), keep_alive=KeepAlive(treatment=Treatment.IMMORTAL)
)
STANDARD = RoutePlan("web", 0, MatchPlan((range(443, 444),)), keep_alive=KeepAlive(enabled=False))


class Relayed:
    """Tests that run with both relays."""

    def begin(self, route=STANDARD, world=None):
        """Relay a connection, with timeouts and zombie sweeps running."""
        self.world = world or self.make_world()
        self.pump, self.clock = self.world.pump, self.world.pump.reactor
        self.sockets = [side.transport.getHandle() for side in self.world.near]
        self.fixture = RegistryFixture(self.clock)
        self.deadlines = Deadlines(self.clock)
        self.deadlines.start()
        self.addCleanup(self.deadlines.stop)
        timeouts = ConnectionTimeouts(self.deadlines, self.clock.seconds, lambda: 0.0)
        registry = self.fixture.registry
        self.record = self.world.record = registry.open(
            Accepted(":443", 443, Endpoint("192.0.2.1", 5000), self.clock.seconds())
        )
        registry.identify(self.record, self.record.peer)
        registry.assign(self.record, "web")
        timeouts.watch(self.record, route)
        self.record.state = ConnectionState.RELAYING
        self.record.stuck_detection = route.keep_alive.treatment is not Treatment.IMMORTAL
        self.world.link()
        self.record.owner = self.world.relay
        self.world.over.addCallback(
            lambda _: registry.close(self.record, self.world.outcome[0], self.clock.seconds())
        )
        sweep = ZombieSweep(ZombiePlan(), registry, self.fixture.counters, self.clock)
        sweep.start()
        self.addCleanup(sweep.stop)

    def pass_time(self, seconds):
        self.pump.settle()
        for _ in range(seconds):
            self.clock.advance(1)
            for _ in range(4):
                self.pump.turn()

    def assert_lives(self):
        self.assertEqual((self.fixture.registry.active, self.world.outcome), (1, []))

    def assert_ended(self, reason, **zombies):
        """The connection was closed once, for ``reason``, and nothing of it is left."""
        self.fixture.registry.ended.empty()
        self.assertEqual(self.fixture.registry.live, {})
        self.assertEqual(self.fixture.counters.route("web").closed, {reason: 1})
        self.assertEqual(self.fixture.counters.zombies, {"full": 0, "half": 0, "stuck": 0} | zombies)
        self.assertEqual(len(self.deadlines), 0)
        self.world.assert_nothing_is_left(self)

    # -- full ----------------------------------------------------------------------------------------

    def test_both_sockets_closed_elsewhere_is_full(self):
        for close in (lambda sock: sock.close(), lambda sock: os.close(sock.fileno())):
            self.begin()
            for sock in self.sockets:
                close(sock)
            self.pass_time(9)
            self.assert_lives()
            self.pass_time(3)
            self.assert_ended(CloseReason.ZOMBIE_FULL, full=1)

    def test_reused_descriptor_numbers_are_not_confused(self):
        """Other connections have the numbers by now: they must keep their sockets and events."""
        self.begin()
        numbers = [sock.fileno() for sock in self.sockets]
        for sock in self.sockets:
            sock.close()
        others = [self.pump.connection() for _ in self.sockets]
        taken = {near.fileno() for near, _ in others} | {far.sock.fileno() for _, far in others}
        self.assertTrue(set(numbers) & taken)
        for near, _ in others:
            self.pump.poller.add(near.fileno(), self)
        self.events = []
        self.pass_time(12)
        self.events.clear()
        for near, far in others:
            far.write(b"still here")
            self.pump.settle()
            self.assertEqual(near.recv(100), b"still here")
        self.assertEqual(len(self.events), 2)
        for near, _ in others:
            self.pump.poller.close(near, self)
            near.close()
        for _, far in others:
            far.close()
        self.assert_ended(CloseReason.ZOMBIE_FULL, full=1)

    def ready(self, events):
        self.events.append(events)

    # -- half ----------------------------------------------------------------------------------------

    def test_one_socket_closed_elsewhere_is_half(self):
        for which, far in ((0, "upstream"), (1, "client")):
            self.begin()
            self.sockets[which].close()
            self.pass_time(39)
            self.assert_lives()
            self.pass_time(2)
            self.assertTrue(getattr(self.world, far).was_reset)
            self.assert_ended(CloseReason.ZOMBIE_HALF, half=1)

    def test_immortal_connection_can_be_half(self):
        self.begin(IMMORTAL)
        self.sockets[1].close()
        self.pass_time(41)
        self.assert_ended(CloseReason.ZOMBIE_HALF, half=1)

    def test_socket_with_a_fin_is_not_gone(self):
        """Half-closed connections have a timeout of their own."""
        self.begin(IMMORTAL)
        self.world.client.fin()
        self.pass_time(1000)
        self.assertTrue(self.world.upstream.ended)
        self.assertEqual(self.record.owner.gone(), (False, False))
        self.assert_lives()
        self.world.upstream.fin()
        self.pass_time(1)
        self.assert_ended(CloseReason.NORMAL)

    def test_half_closed_and_silent_is_closed_by_its_timeout(self):
        """``halfCloseTimeout`` closes it, hours before inactivity would, and it is not counted as a zombie."""
        self.begin()
        self.world.upstream.fin()
        self.pass_time(58)
        self.assert_lives()
        self.assertTrue(self.world.client.ended)
        self.pass_time(4)
        self.assert_ended(CloseReason.HALF_CLOSE_TIMEOUT)

    # -- stuck ---------------------------------------------------------------------------------------

    def test_silent_backend_is_stuck(self):
        self.begin()
        self.world.client.write(b"hello?")
        self.pass_time(59)
        self.assert_lives()
        self.pass_time(12)
        self.assertTrue(self.world.client.was_reset)
        self.assertTrue(self.world.upstream.was_reset)
        self.assert_ended(CloseReason.ZOMBIE_STUCK, stuck=1)

    def test_upload_in_progress_is_not_stuck(self):
        self.begin()
        for _ in range(10):
            self.world.client.write(b"more")
            self.pass_time(50)
        self.assert_lives()
        self.assertEqual(self.record.bytes_received, 40)
        self.world.client.rst()
        self.pass_time(1)
        self.assert_ended(CloseReason.CLIENT_RESET)

    # -- what is none ----------------------------------------------------------------------------------

    def test_reset_is_noticed_while_reading_is_paused(self):
        """The poller reports it, so it never becomes a zombie."""
        self.begin(world=self.make_world(buffers=8192))
        self.world.client.reading = False
        self.world.upstream.write(bytes(1_000_000))
        self.pump.settle()
        self.assert_lives()
        self.world.upstream.rst()
        self.pump.settle()
        self.world.client.reading = True
        self.pass_time(1)
        self.assert_ended(CloseReason.UPSTREAM_RESET)


class TransportZombieTests(Relayed, SynchronousTestCase):
    def make_world(self, **options):
        return SocketWorld(self, **options)


class SocketRelayed(Relayed):
    """The relays over sockets of the poller."""

    def test_slow_reader_gets_the_whole_reply_after_its_fin(self):
        """The backend's socket is closed long before the end, and the connection must not be taken for a zombie."""
        self.begin(world=self.make_world(buffers=16384))
        client, upstream = self.world.client, self.world.upstream
        client.reading = False
        client.write(b"all of it, please")
        client.fin()
        upstream.write(bytes(500_000))
        upstream.fin()
        got = 0
        while got < 500_000:
            self.pass_time(25)
            while data := self.some_of(client):
                got += data
        self.pass_time(1)
        self.assertEqual((got, self.world.outcome), (500_000, [CloseReason.NORMAL]))
        self.assert_ended(CloseReason.NORMAL)

    def some_of(self, far):
        """Read what has arrived at the far end, and return the number of bytes."""
        try:
            return len(far.sock.recv(65536))
        except BlockingIOError:
            return 0


class SpliceZombieTests(SocketRelayed, SynchronousTestCase):
    def make_world(self, **options):
        return SpliceWorld(self, **options)


class CopyZombieTests(SocketRelayed, SynchronousTestCase):
    def make_world(self, **options):
        return CopyWorld(self, **options)
