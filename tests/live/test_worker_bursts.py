"""Limits of a proxy with four workers in bursts of connections: exact, also after a worker was killed and replaced."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from tests.live.waiting import until
from tests.live.workers import WorkersCase, line

_WORKERS, _THREADS, _BURST = 4, 16, 300
#: Connections after a burst: two clients of it that ask for the last place at once may both have been refused.
_ONE_BY_ONE = 12


class BurstCase(WorkersCase):
    def start(self, *, route=None, **limits):
        self.front = self.port()
        self.running = self.proxy(
            self.identifying("who", self.front, **(route or {})), workers=_WORKERS, **limits
        )
        return self.running

    def burst(self, count=_BURST, sources=("127.0.0.1",)):
        """Connect ``count`` times at once, then a few times one by one; those admitted: source, socket and process."""
        asked = [sources[number % len(sources)] for number in range(count)]
        with ThreadPoolExecutor(_THREADS) as threads:
            admitted = list(threads.map(self.attempt, asked))
        admitted += [self.attempt(source) for source in (*sources[:3], *sources[-3:]) * (_ONE_BY_ONE // 6)]
        return [each for each in admitted if each is not None]

    def attempt(self, source):
        sock = self.connect(self.front, source=source)
        try:
            return source, sock, int(line(sock))
        except ConnectionError:
            return None

    def kill_one(self, admitted):
        """Kill a worker that has some of these connections, and wait for the next one; what is left of them."""
        (victim, _), *_ = Counter(pid for _, _, pid in admitted).most_common(1)
        self.kill(victim)
        # The supervisor writes it when it has dropped what that process had counted.
        until(lambda: f"{victim} has ended by signal SIGKILL" in self.running.printed, "its end")
        self.serving(self.running, _WORKERS, without=[victim])
        return [each for each in admitted if each[2] != victim]


class LimitTests(BurstCase):
    def test_connections_are_admitted_exactly_up_to_the_limit(self):
        """``maxConnections`` of the proxy, from many addresses."""
        self.start(maxConnections=100)
        sources = [f"127.0.0.{number}" for number in range(1, 51)]
        admitted = self.burst(sources=sources)
        self.assertEqual(len(admitted), 100)
        self.assertEqual(self.running.active, 100)
        left = self.kill_one(admitted)
        self.assertLess(len(left), 100)
        again = self.burst(sources=sources)
        self.assertEqual(len(left) + len(again), 100)
        for _, sock, _ in [*left, *again][:30]:
            sock.close()
        until(lambda: self.running.active == 70, "30 connections less")
        self.assertEqual(len(self.burst(sources=sources)), 30)

    def test_connections_of_a_route_are_admitted_exactly_up_to_its_limit(self):
        self.start(route={"security": {"maxConnections": 50}})
        admitted = self.burst()
        self.assertEqual(len(admitted), 50)
        left = self.kill_one(admitted)
        self.assertEqual(len(left) + len(self.burst()), 50)

    def test_connections_of_each_client_are_admitted_exactly_up_to_the_limit(self):
        self.start(maxConnectionsPerIP=3)
        sources = [f"127.0.0.{number}" for number in range(1, 21)]
        admitted = self.burst(sources=sources)
        self.assert_each(admitted, sources, 3)
        left = self.kill_one(admitted)
        self.assert_each([*left, *self.burst(sources=sources)], sources, 3)

    def assert_each(self, admitted, sources, count):
        """Every source has this many of them."""
        found = Counter(source for source, _, _ in admitted)
        # The last place of a source whose two last clients were both refused has no other client behind them.
        for source in sources:
            while found[source] < count and self.attempt(source) is not None:
                found[source] += 1
        self.assertEqual(found, dict.fromkeys(sources, count))
        for source in sources:
            self.assertIsNone(self.attempt(source))

    def test_connections_a_minute_are_admitted_exactly_up_to_the_rate(self):
        """A killed worker has no connections any more, but its clients have connected all the same."""
        self.start(connectionRateLimitPerMinute=20)
        sources = [f"127.0.0.{number}" for number in range(1, 6)]
        admitted = self.burst(sources=sources)
        self.assert_each(admitted, sources, 20)
        self.kill_one(admitted)
        for source in sources:
            self.assertIsNone(self.attempt(source))
        self.assert_each(self.burst(60, ["127.0.0.9"]), ["127.0.0.9"], 20)
