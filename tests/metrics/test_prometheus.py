"""The exposition formats, compared with the parsers and writers of prometheus-client."""

from __future__ import annotations

import re

from prometheus_client import exposition as library_text
from prometheus_client.openmetrics import exposition as library_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.metrics.collector import PrometheusCollector
from smartproxy.metrics.families import families
from smartproxy.metrics.prometheus import exposition
from smartproxy.model.outcome import CloseReason, RejectReason
from smartproxy.upstream.group_requests import GroupRequests
from tests.admin.doubles import FakeControl

OPENMETRICS = "application/openmetrics-text"
HOSTILE_NAME = 'a"b\\c\nd\x1be %s %% ü'


def page(control, accept=""):
    pieces, _ = exposition(families(control.registry, control.counters), accept)
    return b"".join(pieces).decode()


def scrape(control, accept=""):
    """Every sample: name and label values, in the order of the label names, to its value."""
    parse = parse_openmetrics if accept else parse_text
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in parse(page(control, accept))
        for sample in family.samples
    }


def busy():
    """A proxy with a value in every kind of metric."""
    control = FakeControl()
    control.connect(received=7, sent=8)
    control.connect(route=HOSTILE_NAME, received=1)
    for route, reason in (("web", CloseReason.NORMAL), ("mail", CloseReason.CLIENT_RESET)):
        control.registry.close(control.connect(route=route, received=3, at=99.5), reason, 100.0)
    control.registry.ended.empty()
    control.counters.route("web").dial_seconds.observe(0.125)
    control.counters.route(HOSTILE_NAME).dial_seconds.observe(40.0)
    control.counters.reject(RejectReason.NO_ROUTE)
    control.counters.proxy_header("2", "ok")
    control.counters.access_log_dropped = 4
    control.counters.route("web").of_requests().count("GET", 200, 0.25)
    control.counters.acme_next_renewal = lambda: {"*.a.example": 1000.0}
    next(iter(control.groups._groups)).requests = GroupRequests()
    return control


class FormatTests(SynchronousTestCase):
    def _library(self, control, writer):
        """The metrics as prometheus-client writes them; it writes every number with a decimal point."""
        return writer.generate_latest(PrometheusCollector(control.registry, control.counters)).decode()

    def _ours(self, control, accept=""):
        return re.sub(r" (\d+)$", r" \1.0", page(control, accept), flags=re.MULTILINE)

    def test_text_equals_the_output_of_prometheus_client(self):
        control = busy()
        self.assertEqual(self._ours(control).splitlines(), self._library(control, library_text).splitlines())

    def test_openmetrics_equals_the_output_of_prometheus_client(self):
        control = busy()
        self.assertEqual(
            self._ours(control, OPENMETRICS).splitlines(),
            self._library(control, library_openmetrics).splitlines(),
        )

    def test_both_formats_have_the_same_samples(self):
        control = busy()
        self.assertEqual(scrape(control), scrape(control, OPENMETRICS))

    def test_many_routes_are_written_in_pieces_without_loss(self):
        control = FakeControl()
        for number in range(2500):
            control.counters.route(f"r{number}").opened = 1
            control.counters.route(f"r{number}").duration_seconds.observe(0.5)
        pieces, _ = exposition(families(control.registry, control.counters))
        self.assertGreater(sum(1 for piece in pieces if len(piece) > 10_000), 25)
        seen = scrape(control)
        self.assertEqual(
            sum(seen["smartproxy_connection_duration_seconds_count", (f"r{n}",)] for n in range(2500)), 2500
        )

    def test_unused_route_adds_four_lines(self):
        """Each configured route has its counters from 0; the histograms of ten thousand would be 300,000 lines."""
        control = FakeControl()
        control.counters.keep({f"customer-{number:05d}" for number in range(10_000)}, 0.0)
        for number in range(100):
            used = control.counters.route(f"customer-{number:05d}")
            used.opened = 1
            used.dial_seconds.observe(0.01)
            used.duration_seconds.observe(1.0)
        whole = page(control)
        lines = [line for line in whole.splitlines() if 'route="' in line]
        self.assertEqual(len(lines), 4 * 10_000 + 100 * (17 + 16))
        self.assertIn('smartproxy_connections_total{route="customer-09999"} 0\n', whole)
        self.assertLess(len(whole), 3_000_000)

    def test_routes_and_reasons_may_appear_during_a_scrape(self):
        control = FakeControl()
        for number in range(1500):
            for reason in (CloseReason.NORMAL, CloseReason.ADMIN, CloseReason.ERROR):
                control.counters.route(f"r{number}").close(reason)
        body = b""
        for number, piece in enumerate(exposition(families(control.registry, control.counters))[0]):
            body += piece
            control.connect(route=f"new{number}")
            for of_route in control.counters.routes.values():
                of_route.close(list(CloseReason)[number % 13])
        self.assertGreater(number, 10)
        self.assertTrue(list(parse_text(body.decode())))

    def test_large_counts_are_exact(self):
        control = FakeControl()
        control.connect(received=2**53 + 1)
        self.assertIn(f'received_bytes_total{{route="web"}} {2**53 + 1}\n', page(control))


class NamesTests(SynchronousTestCase):
    def test_names_types_and_labels_are_the_documented_ones(self):
        names = {
            (
                family.name,
                family.type,
                tuple(sorted({name for sample in family.samples for name in sample.labels})),
            )
            for family in parse_openmetrics(page(busy(), OPENMETRICS))
        }
        self.assertEqual(
            names,
            {
                ("smartproxy_build", "info", ("version",)),
                ("smartproxy_connections", "counter", ("route",)),
                ("smartproxy_connections_active", "gauge", ("route",)),
                ("smartproxy_connections_closed", "counter", ("reason", "route")),
                ("smartproxy_connections_rejected", "counter", ("reason",)),
                ("smartproxy_received_bytes", "counter", ("route",)),
                ("smartproxy_sent_bytes", "counter", ("route",)),
                ("smartproxy_zombies", "counter", ("kind",)),
                ("smartproxy_certificate_expiry_timestamp_seconds", "gauge", ()),
                ("smartproxy_config_reloads", "counter", ("result",)),
                ("smartproxy_config_last_reload_successful", "gauge", ()),
                ("smartproxy_config_last_reload_timestamp_seconds", "gauge", ()),
                ("smartproxy_certificate_reloads", "counter", ("result",)),
                ("smartproxy_ocsp_responses", "counter", ("result",)),
                ("smartproxy_acme_orders", "counter", ("result",)),
                ("smartproxy_acme_next_renewal_timestamp_seconds", "gauge", ("name",)),
                ("smartproxy_tls_handshakes", "counter", ("result", "version")),
                ("smartproxy_tls_resumed", "counter", ()),
                ("smartproxy_http_requests", "counter", ("code", "method", "route")),
                ("smartproxy_http_upgrades_active", "gauge", ("route",)),
                ("smartproxy_http_retries", "counter", ("group",)),
                ("smartproxy_http_pool_connections", "gauge", ("group", "state")),
                ("smartproxy_http_requests_active", "gauge", ("route",)),
                ("smartproxy_http_request_seconds", "histogram", ("le", "route")),
                ("smartproxy_tls_handshake_seconds", "histogram", ("le",)),
                ("smartproxy_target_up", "gauge", ("group", "target")),
                ("smartproxy_target_connections_active", "gauge", ("group", "target")),
                ("smartproxy_target_connections", "counter", ("group", "result", "target")),
                ("smartproxy_target_checks", "counter", ("group", "result", "target")),
                ("smartproxy_target_ejections", "counter", ("group", "target")),
                ("smartproxy_target_received_bytes", "counter", ("group", "target")),
                ("smartproxy_target_sent_bytes", "counter", ("group", "target")),
                ("smartproxy_target_queue_length", "gauge", ("group",)),
                ("smartproxy_cleanup_queue_length", "gauge", ()),
                ("smartproxy_cleanup_batches", "counter", ()),
                ("smartproxy_access_log_dropped", "counter", ()),
                ("smartproxy_proxy_headers", "counter", ("result", "version")),
                ("smartproxy_postgres_cancels", "counter", ("result",)),
                ("smartproxy_upstream_dial_seconds", "histogram", ("le", "route")),
                ("smartproxy_connection_duration_seconds", "histogram", ("le", "route")),
            },
        )

    def test_handshakes_have_counters_and_a_histogram(self):
        control = FakeControl()
        control.counters.handshake(0.004, "TLSv1.3", resumed=True)
        control.counters.no_handshake("not_tls")
        seen = scrape(control)
        self.assertEqual(seen["smartproxy_tls_handshakes_total", ("ok", "TLSv1.3")], 1)
        self.assertEqual(seen["smartproxy_tls_handshakes_total", ("not_tls", "none")], 1)
        self.assertEqual(seen["smartproxy_tls_resumed_total", ()], 1)
        self.assertEqual(seen["smartproxy_tls_handshake_seconds_bucket", ("0.005",)], 1)
        self.assertEqual(seen["smartproxy_tls_handshake_seconds_count", ()], 1)

    def test_ocsp_responses_are_counted_by_result(self):
        control = FakeControl()
        control.counters.ocsp_responses["good"] += 1
        seen = scrape(control)
        counts = {labels: value for (name, labels), value in seen.items() if "ocsp" in name}
        self.assertEqual(
            counts,
            {("good",): 1, ("revoked",): 0, ("unknown",): 0, ("invalid",): 0, ("unanswered",): 0},
        )

    def test_orders_are_counted_by_result_from_zero(self):
        """An alert on the first failed order needs the series before it."""
        control = FakeControl()
        control.counters.acme_orders["failed"] += 1
        seen = scrape(control)
        counts = {labels: value for (name, labels), value in seen.items() if "acme" in name}
        self.assertEqual(counts, {("ok",): 0, ("failed",): 1})

    def test_next_renewal_is_shown_by_name_in_whole_seconds(self):
        control = FakeControl()
        control.counters.acme_next_renewal = lambda: {"a.example": 1767323045.678}
        key = ("smartproxy_acme_next_renewal_timestamp_seconds", ("a.example",))
        self.assertEqual(scrape(control)[key], 1767323045)

    def test_bytes_count_while_live_and_stay_after_close(self):
        control = FakeControl()
        record = control.connect(received=7, sent=8)
        key = ("smartproxy_received_bytes_total", ("web",))
        self.assertEqual(scrape(control)[key], 7)
        record.moved_in(3, 95.0)
        self.assertEqual(scrape(control)[key], 10)
        control.registry.close(record, CloseReason.NORMAL, 99.0)
        self.assertEqual(scrape(control)[key], 10)
        control.registry.ended.empty()
        self.assertEqual(scrape(control)[key], 10)
        self.assertEqual(scrape(control)["smartproxy_sent_bytes_total", ("web",)], 8)

    def test_connection_is_counted_once_opened_and_once_closed(self):
        control = FakeControl()
        record = control.connect()
        control.connect()
        control.registry.close(record, CloseReason.INACTIVITY, 99.0)
        control.registry.ended.empty()
        seen = scrape(control)
        self.assertEqual(seen["smartproxy_connections_total", ("web",)], 2)
        self.assertEqual(seen["smartproxy_connections_active", ("web",)], 1)
        self.assertEqual(seen["smartproxy_connections_closed_total", ("inactivity", "web")], 1)
        self.assertNotIn(("smartproxy_connections_closed_total", ("normal", "web")), seen)

    def test_cleanup_queue_is_shown_before_and_after_a_batch(self):
        control = FakeControl()
        control.registry.close(control.connect(), CloseReason.NORMAL, 99.0)
        length, batches = ("smartproxy_cleanup_queue_length", ()), ("smartproxy_cleanup_batches_total", ())
        seen = scrape(control)
        self.assertEqual((seen[length], seen[batches]), (1, 0))
        control.registry.ended.empty()
        seen = scrape(control)
        self.assertEqual((seen[length], seen[batches]), (0, 1))

    def test_reloads_are_counted_and_the_last_one_is_shown(self):
        control = FakeControl()
        control.counters.config_reload(1000.5, ok=True)
        control.counters.config_reload(2000.5, ok=False)
        seen = scrape(control)
        self.assertEqual(seen["smartproxy_config_reloads_total", ("ok",)], 1)
        self.assertEqual(seen["smartproxy_config_reloads_total", ("failed",)], 1)
        self.assertEqual(seen["smartproxy_config_last_reload_successful", ()], 0)
        self.assertEqual(seen["smartproxy_config_last_reload_timestamp_seconds", ()], 2000)

    def test_rejections_and_headers_start_at_zero(self):
        control = FakeControl()
        control.counters.reject(RejectReason.DRAINING)
        control.counters.proxy_header("1", "invalid")
        seen = scrape(control)
        self.assertEqual(seen["smartproxy_connections_rejected_total", ("draining",)], 1)
        self.assertEqual(seen["smartproxy_connections_rejected_total", ("no_route",)], 0)
        self.assertEqual(seen["smartproxy_proxy_headers_total", ("invalid", "1")], 1)
        self.assertEqual(seen["smartproxy_zombies_total", ("stuck",)], 0)

    def test_histogram_appears_with_its_first_observation(self):
        control = FakeControl()
        dial = control.counters.route("web").dial_seconds
        name = "smartproxy_upstream_dial_seconds"
        control.connect()
        self.assertNotIn((f"{name}_count", ("web",)), scrape(control))
        for seconds in (0.0005, 0.02, 45.0):
            dial.observe(seconds)
        seen = scrape(control)
        counts = [
            seen[f"{name}_bucket", (bound, "web")] for bound in ("0.001", "0.01", "0.025", "30.0", "+Inf")
        ]
        self.assertEqual(counts, [1, 1, 2, 2, 3])
        self.assertEqual((seen[f"{name}_count", ("web",)], seen[f"{name}_sum", ("web",)]), (3, 45.0205))

    def test_dials_for_requests_on_connections_of_other_routes_are_shown(self):
        """Such a route has requests, and no connection that it was chosen for."""
        control = FakeControl()
        control.counters.route("api").of_requests().count("GET", 200, 0.25)
        control.counters.route("api").dial_seconds.observe(0.125)
        seen = scrape(control)
        self.assertEqual(seen["smartproxy_upstream_dial_seconds_count", ("api",)], 1)
        self.assertEqual(seen["smartproxy_connections_total", ("api",)], 0)

    def test_hostile_route_name_is_escaped(self):
        for accept in ("", OPENMETRICS):
            seen = scrape(busy(), accept)
            self.assertEqual(seen["smartproxy_connections_total", (HOSTILE_NAME,)], 1)
            self.assertEqual(seen["smartproxy_upstream_dial_seconds_count", (HOSTILE_NAME,)], 1)


class NegotiationTests(SynchronousTestCase):
    def test_unknown_accept_header_gets_text_and_is_not_echoed(self):
        control = FakeControl()
        for accept in ("", "*/*", ";;;,,=", "text/plain; version=\x1b", "application/json"):
            self.assertIn(
                "version=0.0.4", exposition(families(control.registry, control.counters), accept)[1]
            )
        offer = "text/plain, Application/OpenMetrics-Text; version=9.9.9; escaping=evil"
        content_type = exposition(families(control.registry, control.counters), offer)[1]
        self.assertEqual(content_type, "application/openmetrics-text; version=1.0.0; charset=utf-8")
