"""Prometheus's promtool on a page of a running proxy, on the alert rules in ``tap/``, and on the dashboard's queries."""

from __future__ import annotations

import json
import re
import subprocess

from tests.live.backends import echo
from tests.live.case import LiveCase, route
from tests.live.dead_ends import refusing
from tests.live.programs import ROOT, needed, run
from tests.live.waiting import until

RULES = ROOT / "tap" / "prometheus-rules.yaml"


class PromtoolTests(LiveCase):
    def promtool(self, *arguments, **options):
        done = run(needed("promtool"), *arguments, **options)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def page_of(self, proxy):
        """A page, once the connection is in its histograms."""
        page = proxy.ask("/metrics")[1]
        return page if b"smartproxy_connection_duration_seconds_bucket" in page else None

    def test_page_of_a_running_proxy_has_no_problem(self):
        """It checks names, types, help texts and units (``promtool check metrics``)."""
        front = self.port()
        group = {"healthCheck": {"interval": "100ms"}, "queue": {"size": 5}}
        proxy = self.proxy(route("web", front, self.backend(echo), refusing(), action=group))
        for _ in range(2):
            with self.connect(front) as client:
                self.assert_echoes(client, b"words")
        page = until(lambda: self.page_of(proxy), "a page with histograms")
        with subprocess.Popen(
            [needed("promtool"), "check", "metrics"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as tool:
            printed, _ = tool.communicate(page, timeout=60)
        self.assertEqual((printed.decode(), tool.returncode), ("", 0))

    def test_alert_rules_are_valid(self):
        self.assertRegex(self.promtool("check", "rules", RULES), r"SUCCESS: \d+ rules found")

    def test_each_alert_fires_for_its_cause_and_for_nothing_else(self):
        self.promtool("test", "rules", ROOT / "tests" / "live" / "prometheus_rules.yaml")

    def test_queries_of_the_dashboard_are_valid(self):
        """As recording rules, with a value in the place of each variable."""
        shown = json.loads((ROOT / "tap" / "grafana-dashboard.json").read_text(encoding="utf-8"))
        queries = [target["expr"] for panel in shown["panels"] for target in panel.get("targets", ())]
        rules = [
            {"record": f"dashboard:query:{number}", "expr": re.sub(r"\$\w+", "5m", query)}
            for number, query in enumerate(queries)
        ]
        written = self.directory / "dashboard.yaml"
        written.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
        self.assertIn(f"SUCCESS: {len(queries)} rules found", self.promtool("check", "rules", written))
