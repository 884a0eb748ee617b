"""What a reload changes, what it leaves as it is, and what it reports to wait for a restart."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.logger import globalLogPublisher

from smartproxy import Settings, SmartProxy
from smartproxy.errors import ConfigurationError
from smartproxy.metrics.api import Percentiles
from smartproxy.model.outcome import CloseReason
from smartproxy.model.plan import ProxyPlan
from tests.on_network import HOST, NetworkTestCase


def as_written(name="web", port=80, **more):
    """A route as in a file."""
    action = {"targets": [{"host": HOST, "port": 9000}]}
    return {"name": name, "match": {"ports": port}, "action": action} | more


class FileTestCase(NetworkTestCase):
    """A proxy whose file is changed and read again."""

    def setUp(self):
        super().setUp()
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.file = self.directory / "proxy.json"
        self.events = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def write(self, **settings):
        self.file.write_text(json.dumps({"acceleration": "off", "routes": [as_written()]} | settings))

    def start_file(self, **settings):
        self.write(**settings)
        self.proxy = self.network.start(Settings.load(self.file))
        self.addCleanup(lambda: self.network.stop(self.proxy))

    def reload(self, **settings):
        self.write(**settings)
        return self.network.result(self.proxy.reload())

    def lines(self, name="access.log"):
        path = self.directory / name
        return path.read_text().splitlines() if path.exists() else []

    def exchange(self, port=80):
        """A connection that ends at once, and its clean-up."""
        client = self.connect(port, b"hello")
        client.fin()
        self.backend.connections[-1].fin()
        self.network.run(0.3)

    def logged(self, part):
        formats = [event for event in self.events if part in (event.get("log_format") or "")]
        return [event["keys"] for event in formats]


class LimitPrefixTests(FileTestCase):
    def connect_from(self, ip):
        far = self.network.connect(80, HOST, client=(ip, 5000))
        self.network.settle()
        return far

    def rejected(self):
        return {str(reason): count for reason, count in self.proxy.counters.rejected.items() if count}

    def test_reload_changes_which_addresses_are_one_client(self):
        """Connections from before the reload count for their network behind it, and end properly."""
        self.start_file(maxConnectionsPerIP=2)
        first = [self.connect_from(f"2001:db8::{n}") for n in (1, 2)]
        self.reload(maxConnectionsPerIP=2, ipv6LimitPrefix=64)
        self.connect_from("2001:db8::3")
        self.assertEqual(self.rejected(), {"ip_limit": 1})
        other = self.connect_from("2001:db8:0:1::1")
        self.reload(maxConnectionsPerIP=2)
        third = self.connect_from("2001:db8::3")
        self.assertEqual(self.rejected(), {"ip_limit": 1})
        self.assertEqual(sorted(self.proxy.registry.by_ip.values()), [1, 1, 1, 1])
        self.reload(maxConnectionsPerIP=2, ipv6LimitPrefix=48)
        for far in (*first, other, third):
            far.rst()
        self.network.settle()
        self.assertEqual(self.proxy.registry.by_ip, {})
        self.assertEqual([bool(self.connect_from(f"2001:db8::{n}")) for n in (4, 5, 6)], [True] * 3)
        self.assertEqual(self.rejected(), {"ip_limit": 2})

    def test_prefix_holds_from_the_start_and_for_the_rate(self):
        self.start_file(connectionRateLimitPerMinute=1, ipv6LimitPrefix=64)
        for n in (1, 2):
            self.connect_from(f"2001:db8::{n}")
        self.assertEqual(self.rejected(), {"rate_limit": 1})


class AccessLogTests(FileTestCase):
    def test_it_is_turned_on_moved_and_turned_off(self):
        self.start_file()
        self.exchange()
        self.reload(accessLog={"path": "access.log"})
        self.exchange()
        self.assertEqual(len(self.lines()), 1)
        self.reload(accessLog={"path": "other.log"})
        self.exchange()
        self.reload()
        self.exchange()
        self.assertEqual((len(self.lines()), len(self.lines("other.log"))), (1, 1))

    def test_its_format_changes_without_opening_the_file_again(self):
        """As nobody, a file that root has opened may not be opened again."""
        self.start_file(accessLog={"path": "access.log"})
        self.exchange()
        (self.directory / "access.log").rename(self.directory / "renamed.log")
        self.reload(accessLog={"path": "access.log", "format": "text"})
        self.exchange()
        first, second = self.lines("renamed.log")
        self.assertEqual((first[0], second[:5]), ("{", "time="))

    def test_an_unchanged_log_is_not_opened_again(self):
        self.start_file(accessLog={"path": "access.log"})
        (self.directory / "access.log").rename(self.directory / "renamed.log")
        self.reload(accessLog={"path": "access.log"}, routes=[as_written(), as_written("other", 81)])
        self.exchange()
        self.assertEqual((len(self.lines()), len(self.lines("renamed.log"))), (0, 1))

    def test_one_that_cannot_be_opened_changes_nothing(self):
        self.start_file(accessLog={"path": "access.log"})
        other = as_written("other", 81)
        self.write(accessLog={"path": "none/access.log"}, routes=[as_written(), other])
        failed = self.assertRaises(ConfigurationError, self.network.result, self.proxy.reload())
        file = self.directory / "none/access.log"
        self.assertEqual(
            failed.problems,
            [f"{self.file}:1: accessLog.path: {file}: cannot be opened: No such file or directory"],
        )
        self.assertEqual([port for _, port in self.proxy.addresses()], [80])
        self.exchange()
        self.assertEqual(len(self.lines()), 1)

    def test_a_port_in_use_leaves_the_former_log_in_use(self):
        self.start_file(accessLog={"path": "access.log"})
        self.network.listenTCP(90, Factory(), interface="::")
        self.write(accessLog={"path": "other.log"}, routes=[as_written(), as_written("other", 90)])
        before = len(list(Path("/proc/self/fd").iterdir()))
        self.assertRaises(CannotListenError, self.network.result, self.proxy.reload())
        self.assertEqual(len(list(Path("/proc/self/fd").iterdir())), before)
        self.exchange()
        self.assertEqual((len(self.lines()), len(self.lines("other.log"))), (1, 0))


class MetricsTests(FileTestCase):
    def test_turned_on_it_measures_live_connections_too(self):
        self.start_file(metrics=False)
        client = self.connect(80, b"before")
        self.reload(metrics=True)
        client.write(bytes(1000))
        self.network.run(2)
        rates = self.proxy.metrics.throughput
        self.assertGreater(rates.by_route()["web"].in_, 0)
        self.assertGreater(rates.average().in_, 0)
        self.assertEqual(self.proxy.metrics.totals().bytes_received, 1006)

    def test_turned_off_it_measures_nothing_and_counts_on(self):
        self.start_file()
        client = self.connect(80, b"before")
        self.reload(metrics=False)
        client.write(b"behind")
        self.network.run(2)
        self.assertEqual(self.proxy.metrics.throughput.by_route(), {})
        self.assertEqual(self.proxy.metrics.totals().bytes_received, 12)
        self.exchange()
        self.assertEqual(self.proxy.metrics.percentiles(), Percentiles())

    def test_another_interval_keeps_the_samples(self):
        self.start_file(metrics={"sampleInterval": "1s", "retention": "1h"})
        self.connect(80, bytes(1000))
        self.network.run(5.1)
        self.reload(metrics={"sampleInterval": "2s", "retention": "1h"})
        history = self.proxy.metrics.throughput.history(60)
        self.assertEqual(len(history), 5)
        self.assertAlmostEqual(sum(sample.rate.in_ for sample in history), 1000)
        self.network.run(8)
        self.assertEqual(len(self.proxy.metrics.throughput.history(60)), 9)

    def test_a_shorter_retention_keeps_the_newest_samples(self):
        self.start_file()
        self.network.run(10)
        at = [sample.at for sample in self.proxy.metrics.throughput.history(60)]
        self.reload(metrics={"retention": "4s"})
        self.assertEqual([sample.at for sample in self.proxy.metrics.throughput.history(60)], at[-4:])

    def test_unchanged_it_keeps_its_rates(self):
        self.start_file()
        self.connect(80, bytes(1000))
        self.network.run(2)
        before = self.proxy.metrics, self.proxy.metrics.throughput.by_route()
        self.reload(routes=[as_written(), as_written("other", 81)])
        self.assertEqual((self.proxy.metrics, self.proxy.metrics.throughput.by_route()), before)


class SweepTests(FileTestCase):
    """Zombie detection and clean-up."""

    def stuck(self):
        self.network.run(3)
        return self.proxy.counters.zombies["stuck"]

    def test_zombie_detection_is_turned_on_changed_and_turned_off(self):
        self.start_file(zombieDetection=False)
        self.connect(80, b"unanswered")
        self.network.run(100)
        self.assertEqual(self.stuck(), 0)
        self.reload(zombieDetection={"interval": "1s", "stuckPlain": "10m"})
        self.assertEqual(self.stuck(), 0)
        self.reload(zombieDetection={"interval": "1s", "stuckPlain": "5s"})
        self.assertEqual(self.stuck(), 1)
        self.reload(zombieDetection=False)
        self.connect(80, b"unanswered")
        self.network.run(100)
        self.assertEqual(self.stuck(), 1)

    def test_cleanup_changes(self):
        self.start_file(cleanup={"delay": "1h"})
        self.exchange()
        self.assertEqual(self.proxy.metrics.cleanup().queued, 1)
        self.reload(cleanup={"batchSize": 2, "delay": "1h"})
        self.exchange()
        self.assertEqual(self.proxy.metrics.cleanup().queued, 0)

    def test_another_limit_of_buffered_bytes_is_for_new_connections(self):
        self.start_file()
        self.reload(maxPendingDataSize=100)
        self.assertEqual(self.network.listening("127.0.0.1", 80).factory.hold, 100)


class RestartTests(FileTestCase):
    def test_what_waits_for_a_restart_is_reported_and_logged(self):
        self.start_file()
        self.reload()
        self.assertEqual(self.proxy.waiting_for_restart(), [])
        self.reload(admin={"unix": "admin.sock"}, acceleration="auto")
        self.assertEqual(self.proxy.waiting_for_restart(), ["acceleration", "admin"])
        self.reload(admin={"unix": "admin.sock"}, acceleration="auto", routes=[as_written("b", 81)])
        self.assertEqual(self.logged("wait for a restart"), ["acceleration, admin"])
        self.reload()
        self.assertEqual(self.proxy.waiting_for_restart(), [])

    def test_every_setting_is_reloaded_or_reported(self):
        """A new field of the plan must be put in force by a reload, or be reported; then it is added here."""
        reported = {"acceleration", "admin", "workers"}
        by_paths = {
            "routes", "trusted", "accept_header", "header_timeout", "max_pending_data", "max_connections",
            "max_connections_per_ip", "connection_rate_per_minute", "keep_alive", "probes", "user_timeout",
            "timeouts", "tls", "acme", "error_pages",
        }  # fmt: skip
        by_accounting = {"zombies", "cleanup", "metrics", "access_log"}
        by_runtime = {"ipv6_limit_prefix", "address_files", "page_files", "groups"}
        read_when_used = {"graceful_shutdown"}
        self.assertEqual(
            {field.name for field in fields(ProxyPlan) if field.init},
            reported | by_paths | by_accounting | by_runtime | read_when_used,
        )
        self.start_file()
        for name in reported:
            self.proxy._configuration.plan = replace(self.proxy.plan, **{name: object()})
        self.assertEqual({*self.proxy.waiting_for_restart()}, reported)


class KeptTests(FileTestCase):
    """What a reload does not change goes on as it is."""

    def test_limits_count_connections_from_before(self):
        limited = as_written("limited", 81, security={"maxConnections": 2})
        limits = {"routes": [as_written(), limited], "maxConnectionsPerIP": 3, "maxConnections": 4}
        self.start_file(**limits)
        for port in (81, 81, 80):
            self.connect(port)
        for number in range(3):
            self.reload(**limits | {"routes": [as_written(), limited, as_written("other", 90 + number)]})
            self.assertTrue(self.connect(81, client=("192.0.2.2", 1)).ended)  # of the route
            self.assertTrue(self.connect(80).ended)  # of the address
            last = self.connect(80, client=("192.0.2.2", 2))
            self.assertFalse(last.ended)
            self.assertTrue(self.connect(80, client=("192.0.2.3", 3)).ended)  # of the proxy
            last.fin()
            self.backend.connections[-1].fin()
            self.network.settle()

    def test_addresses_of_names_are_not_asked_for_again(self):
        asked = []
        resolve = self.network.resolveHostName

        def noted(receiver, name, *more, **options):
            asked.append(name)
            return resolve(receiver, name, *more, **options)

        self.network.resolveHostName = noted
        self.network.names["app.internal"] = [HOST]
        named = as_written()
        named["action"] = {"targets": [{"host": "app.internal", "port": 9000}]}
        self.start_file(routes=[named])
        for number in range(3):
            self.connect(80)
            self.reload(routes=[named, as_written("other", 90 + number)])
        self.assertEqual((asked, len(self.backend.connections)), (["app.internal"], 3))

    def test_a_connection_that_waits_for_first_bytes_keeps_its_deadline(self):
        needs_bytes = as_written()
        needs_bytes["match"]["domains"] = ["a.example"]
        self.start_file(routes=[needs_bytes], initialDataTimeout="10s")
        client = self.connect(80)
        for number in range(4):
            self.network.run(2)
            self.reload(routes=[needs_bytes, as_written("other", 90 + number)], initialDataTimeout="10s")
        self.assertFalse(client.ended)
        self.network.run(3)
        self.assertTrue(client.ended)

    def test_half_dead_connections_keep_their_grace(self):
        """Also where a reload changes how often the sweep runs."""
        found = {1: 5.0}
        self.start_file()
        self.proxy._runtime.accounting._zombies._half_since = found
        self.reload(zombieDetection={"interval": "1m"})
        self.assertIs(self.proxy._runtime.accounting._zombies._half_since, found)

    def test_a_change_that_was_read_while_the_proxy_started_is_put_in_force(self):
        """Reading takes time in a thread; whether ports are bound counts when it is done."""
        self.write()
        self.proxy = SmartProxy(Settings.load(self.file), self.network)
        reading = Deferred()
        calls = iter([reading])
        self.proxy._in_thread = lambda call: next(calls, succeed(None)).addCallback(lambda _: call())
        self.write(routes=[as_written("other", 81)])
        changed = self.proxy.reload()
        self.proxy.startService()
        self.addCleanup(lambda: self.network.stop(self.proxy))
        reading.callback(None)
        self.network.result(changed)
        self.assertEqual([port for _, port in self.proxy.addresses()], [81])

    def test_turns_stay_even_through_a_hundred_reloads(self):
        """Of a shared group and of a route's own targets, under each algorithm that has turns, also with weights."""
        backends = [self.network.backend(f"10.0.1.{n}", 9000) for n in (1, 2, 3)]
        targets = [{"host": f"10.0.1.{n}", "port": 9000} for n in (1, 2, 3)]
        weighted = [{**target, "weight": weight} for target, weight in zip(targets, (1, 2, 3), strict=True)]
        for algorithm in ("roundRobin", "leastConnections"):
            group = {"targets": weighted, "loadBalancing": {"algorithm": algorithm}}
            action = {"targets": targets, "loadBalancing": {"algorithm": algorithm}}
            own, shared = as_written("own", action=action), as_written("shared", 81, action={"group": "app"})
            settings = {"routes": [own, shared], "targetGroups": {"app": group}}
            self.start_file(**settings)
            for port, weights in ((80, (1, 1, 1)), (81, (1, 2, 3))):
                before = [len(backend.connections) for backend in backends]
                for number in range(100):
                    other = as_written("other", 1000 + number)
                    self.reload(**settings | {"routes": [own, shared, other][:: -1 if number % 2 else 1]})
                    client = self.connect(port)
                    if algorithm == "roundRobin":
                        client.rst()
                        self.network.settle()
                used = [len(one.connections) - old for one, old in zip(backends, before, strict=True)]
                for count, weight in zip(used, weights, strict=True):
                    self.assertLessEqual(abs(count - 100 * weight / sum(weights)), 1, (algorithm, used))
            self.network.stop(self.proxy)


class RemovedRouteTests(FileTestCase):
    def test_a_route_removed_twice_has_the_whole_time_again(self):
        both = [as_written(), as_written("other", 81)]
        self.start_file(routes=both, gracefulShutdownTimeout="30s")
        client = self.connect(81)
        for routes in ([as_written()], both, [as_written()]):
            self.reload(routes=routes, gracefulShutdownTimeout="30s")
            self.network.run(10)
        self.network.run(15)  # 45 s after the first removal, 25 s after the second
        self.assertFalse(client.gone)
        self.network.run(6)
        self.assertTrue(client.gone)
        self.assertEqual(self.closed("other"), {CloseReason.ROUTE_REMOVED: 1})
