"""What a scraper reads, read back with the client library's own parsers."""

from __future__ import annotations

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.metrics.prometheus import Collector, exposition
from smartproxy.model.outcome import CloseReason, RejectReason
from tests.admin.doubles import FakeControl


def scrape(control, accept=""):
    """Every sample: its name and the values of its labels, in the order of their names, to its value."""
    body, content_type = exposition(Collector(control.registry, control.tallies), accept)
    parse = parse_openmetrics if "openmetrics" in content_type else parse_text
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in parse(body.decode())
        for sample in family.samples
    }


class CollectorTests(SynchronousTestCase):
    def test_names_and_labels_are_those_of_the_contract(self):
        control = FakeControl()
        control.connect()
        control.registry.close(control.connect(), CloseReason.NORMAL, 100.0)
        control.tallies.route("web").dial_seconds.observe(0.1)
        families = {
            (
                family.name,
                family.type,
                tuple(sorted({name for sample in family.samples for name in sample.labels})),
            )
            for family in Collector(control.registry, control.tallies).collect()
        }
        self.assertEqual(
            families,
            {
                ("smartproxy_build", "info", ("version",)),
                ("smartproxy_connections", "counter", ("route",)),
                ("smartproxy_connections_active", "gauge", ("route",)),
                ("smartproxy_connections_closed", "counter", ("reason", "route")),
                ("smartproxy_connections_rejected", "counter", ("reason",)),
                ("smartproxy_received_bytes", "counter", ("route",)),
                ("smartproxy_sent_bytes", "counter", ("route",)),
                ("smartproxy_zombies", "counter", ("kind",)),
                ("smartproxy_proxy_headers", "counter", ("result", "version")),
                ("smartproxy_upstream_dial_seconds", "histogram", ("le", "route")),
                ("smartproxy_connection_duration_seconds", "histogram", ("le", "route")),
            },
        )

    def test_both_formats_say_the_same(self):
        control = FakeControl()
        control.connect(received=7, sent=8)
        control.registry.close(control.connect(received=1), CloseReason.CLIENT_RESET, 99.0)
        self.assertEqual(scrape(control), scrape(control, "application/openmetrics-text"))

    def test_bytes_move_while_a_connection_lives_and_stay_when_it_ends(self):
        control = FakeControl()
        record = control.connect(received=7, sent=8)
        key = ("smartproxy_received_bytes_total", ("web",))
        self.assertEqual(scrape(control)[key], 7)
        record.moved_in(3, 95.0)
        self.assertEqual(scrape(control)[key], 10)
        control.registry.close(record, CloseReason.NORMAL, 99.0)
        self.assertEqual(scrape(control)[key], 10)
        self.assertEqual(scrape(control)["smartproxy_sent_bytes_total", ("web",)], 8)

    def test_a_connection_is_counted_once_at_its_start_and_once_at_its_end(self):
        control = FakeControl()
        record = control.connect()
        control.connect()
        control.registry.close(record, CloseReason.INACTIVITY, 99.0)
        seen = scrape(control)
        self.assertEqual(seen["smartproxy_connections_total", ("web",)], 2)
        self.assertEqual(seen["smartproxy_connections_active", ("web",)], 1)
        self.assertEqual(seen["smartproxy_connections_closed_total", ("inactivity", "web")], 1)
        self.assertNotIn(("smartproxy_connections_closed_total", ("normal", "web")), seen)

    def test_refusals_and_headers_start_at_zero_and_count(self):
        control = FakeControl()
        control.tallies.reject(RejectReason.DRAINING)
        control.tallies.proxy_header("1", "invalid")
        seen = scrape(control)
        self.assertEqual(seen["smartproxy_connections_rejected_total", ("draining",)], 1)
        self.assertEqual(seen["smartproxy_connections_rejected_total", ("no_route",)], 0)
        self.assertEqual(seen["smartproxy_proxy_headers_total", ("invalid", "1")], 1)
        self.assertEqual(seen["smartproxy_zombies_total", ("stuck",)], 0)

    def test_a_histogram_is_cumulative_and_appears_with_its_first_observation(self):
        control = FakeControl()
        dial = control.tallies.route("web").dial_seconds
        name = "smartproxy_upstream_dial_seconds"
        self.assertNotIn((f"{name}_count", ("web",)), scrape(control))
        for seconds in (0.0005, 0.02, 45.0):
            dial.observe(seconds)
        seen = scrape(control)
        counts = [
            seen[f"{name}_bucket", (bound, "web")] for bound in ("0.001", "0.01", "0.025", "30.0", "+Inf")
        ]
        self.assertEqual(counts, [1, 1, 2, 2, 3])
        self.assertEqual((seen[f"{name}_count", ("web",)], seen[f"{name}_sum", ("web",)]), (3, 45.0205))

    def test_a_route_with_an_unfortunate_name_breaks_no_line(self):
        control = FakeControl()
        name = 'a"b\\c\nd\x1be'
        control.connect(route=name)
        for accept in ("", "application/openmetrics-text"):
            self.assertEqual(scrape(control, accept)["smartproxy_connections_total", (name,)], 1)

    def test_strange_accept_headers_get_text_and_are_not_repeated(self):
        control = FakeControl()
        for accept in ("", "*/*", ";;;,,=", "text/plain; version=\x1b", "application/json"):
            self.assertIn(
                "version=0.0.4", exposition(Collector(control.registry, control.tallies), accept)[1]
            )
        offer = "text/plain, Application/OpenMetrics-Text; version=9.9.9; escaping=evil"
        content_type = exposition(Collector(control.registry, control.tallies), offer)[1]
        self.assertEqual(content_type, "application/openmetrics-text; version=1.0.0; charset=utf-8")
