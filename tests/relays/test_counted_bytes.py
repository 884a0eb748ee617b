"""Every byte is counted once: record, route, client, rates, API and metrics agree with what the far ends received."""

from __future__ import annotations

from random import Random

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.admin import views
from smartproxy.connections.registry import Registry
from smartproxy.metrics.counters import Counters
from smartproxy.metrics.families import families
from smartproxy.metrics.prometheus import exposition
from smartproxy.metrics.service import make_metrics
from smartproxy.model.address import Endpoint
from smartproxy.model.facts import Accepted
from smartproxy.model.outcome import CloseReason
from smartproxy.model.plan import CleanupPlan, MetricsPlan
from smartproxy.testing import Nature
from tests.relays.worlds import CopyWorld, MemoryWorld, SocketWorld, SpliceWorld


class AccountingTests:
    """Run in the world that :meth:`world` makes."""

    #: Connections of one test.
    several = 24

    def world(self, random):
        raise NotImplementedError

    def setUp(self):
        self.clock = Clock()
        self.counters = Counters()
        self.registry = Registry(self.counters, CleanupPlan(), self.clock)
        self.metrics = make_metrics(MetricsPlan(), self.registry, self.counters, self.clock)
        self.metrics.startService()

    def carried(self, number, header=b""):
        """A world whose record is in the registry, linked after the client's first bytes; and these bytes."""
        world = self.world(Random(number))
        client = Endpoint(f"192.0.2.{number % 3}", 4000)
        world.record = record = self.registry.open(Accepted(":443", 443, client, self.clock.seconds()))
        self.registry.identify(record, client)
        self.registry.assign(record, f"route-{number % 2}")
        first = Random(number).randbytes(number * 37)
        world.client.write(first)
        world.settle()
        world.link(header)
        return world, first

    def end(self, world):
        """Both sides end, in order."""
        world.client.fin()
        world.upstream.fin()
        world.settle()
        self.assertEqual(world.outcome, [CloseReason.NORMAL])
        self.registry.close(world.record, CloseReason.NORMAL, self.clock.seconds())

    def test_all_totals_are_the_payload_to_the_byte(self):
        up, down = [0, 0], [0, 0]
        for number in range(self.several):
            header = b"PROXY UNKNOWN\r\n" * (number % 2)
            world, first = self.carried(number, header)
            more, answer = Random(-number).randbytes(number * 9173), Random(number).randbytes(number * 7001)
            world.client.write(more)
            world.upstream.write(answer)
            self.end(world)
            self.assertEqual(world.upstream.received, header + first + more)
            self.assertEqual(world.client.received, answer)
            up[number % 2] += len(first + more)
            down[number % 2] += len(answer)
        self.clock.advance(1.0)
        self.assert_all_say(up, down)

    def assert_all_say(self, up, down):
        self.assertEqual(self.metrics.totals(), (sum(up), sum(down), self.several))
        self.assertEqual(self.metrics.throughput.instant(), (sum(up), sum(down)))
        for name, number in (("route-0", 0), ("route-1", 1)):
            self.assertEqual(self.metrics.throughput.by_route()[name], (up[number], down[number]))
        clients = self.metrics.throughput.by_ip().values()
        self.assertEqual(
            (sum(rate.in_ for rate in clients), sum(rate.out for rate in clients)), (sum(up), sum(down))
        )
        shown = views.metrics(self.metrics, self.counters)
        self.assertEqual(
            (shown["totals"]["bytesReceived"], shown["totals"]["bytesSent"], shown["connections"]["active"]),
            (sum(up), sum(down), 0),
        )
        scraped = b"".join(exposition(families(self.registry, self.counters))[0]).decode()
        for number in (0, 1):
            self.assertIn(
                f'smartproxy_received_bytes_total{{route="route-{number}"}} {up[number]}\n', scraped
            )
            self.assertIn(f'smartproxy_sent_bytes_total{{route="route-{number}"}} {down[number]}\n', scraped)
            self.assertIn(f'smartproxy_connections_active{{route="route-{number}"}} 0\n', scraped)

    def test_buffered_first_bytes_are_counted_when_handed_on(self):
        world = self.world(Random(1))
        world.client.write(b"first")
        world.settle()
        self.assertEqual(world.record.bytes_received, 0)
        world.link(b"PROXY UNKNOWN\r\n")
        world.settle()
        self.assertEqual(world.record.bytes_received, 5)

    def test_rates_follow_the_bytes_while_the_connection_lives(self):
        world, first = self.carried(1)
        self.clock.advance(1.0)
        for _ in range(5):
            world.client.write(b"x" * 300_000)
            world.settle()
            self.clock.advance(1.0)
            self.assertEqual(self.metrics.throughput.instant(), (300_000, 0))
        self.end(world)
        self.clock.advance(1.0)
        self.assertEqual(self.metrics.throughput.instant(), (0, 0))
        self.assertEqual(self.metrics.totals(), (1_500_000 + len(first), 0, 1))


class MemoryTests(AccountingTests, SynchronousTestCase):
    """Twisted's transports, cut into pieces of any size."""

    several = 12

    def world(self, random):
        return MemoryWorld(self, Nature(sizes=range(100, 40_000), random=random))


class StreamTests(AccountingTests, SynchronousTestCase):
    """Streams, over loopback."""

    def world(self, random):
        return SocketWorld(self)


class SpliceTests(AccountingTests, SynchronousTestCase):
    """The splice relay, over loopback."""

    def world(self, random):
        return SpliceWorld(self)


class CopyTests(AccountingTests, SynchronousTestCase):
    """The relay that copies, over loopback."""

    def world(self, random):
        return CopyWorld(self)
