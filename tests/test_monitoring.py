"""The alert rules and the dashboard in ``tap/``: they refer to metrics and labels that there are, and are documented."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.connections.registry import Registry
from smartproxy.metrics.counters import Counters
from smartproxy.metrics.families import families
from smartproxy.metrics.family import HistogramFamily
from smartproxy.metrics.process import process_families
from smartproxy.model.plan import CleanupPlan

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
RULES = ROOT / "tap" / "prometheus-rules.yaml"
DASHBOARD = ROOT / "tap" / "grafana-dashboard.json"
#: Labels that Prometheus adds to every series of a target.
TARGET = frozenset({"job", "instance"})
#: A metric and its selector; the name of ours, of a process, or ``up``, which Prometheus makes.
METRIC = re.compile(r"\b((?:smartproxy|process)_\w+|up)\b(?:\{([^}]*)\})?")
#: The labels of an aggregation or of a match between series.
GROUPED = re.compile(r"\b(?:by|on|without) ?\(([^)]*)\)")


def exported() -> dict[str, frozenset[str]]:
    """The labels of every sample that a page may have, by its name."""
    samples = {"up": frozenset[str]()}
    counters = Counters()
    for family in (*families(Registry(counters, CleanupPlan(), Clock()), counters), *process_families()):
        if isinstance(family, HistogramFamily):
            whole = any(route is None for route, _ in family.rows)
            labels = frozenset[str]() if whole else frozenset({"route"})
            samples |= {
                f"{family.name}_bucket": labels | {"le"},
                f"{family.name}_sum": labels,
                f"{family.name}_count": labels,
            }
        else:
            suffix = {"counter": "_total", "info": "_info"}.get(family.kind, "")
            samples[family.name + suffix] = frozenset(family.labels)
    return samples


def problems(expression: str) -> Iterator[str]:
    """What an expression refers to that there is not."""
    samples, used = exported(), set[str]()
    for name, selector in METRIC.findall(expression):
        if name not in samples:
            yield f"no metric {name}"
            continue
        used |= samples[name]
        for label in re.findall(r"(\w+) *(?:=~|!~|!=|=)", selector):
            if label not in samples[name] | TARGET:
                yield f"no label {label} of {name}"
    if not METRIC.search(expression):
        yield "no metric"
    for label in re.findall(r"\w+", " ".join(GROUPED.findall(expression))):
        if label not in used | TARGET:
            yield f"no label {label}"


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return list(group["rules"])


class ExpressionTests(SynchronousTestCase):
    def assert_exist(self, place: str, expression: str) -> None:
        self.assertEqual(list(problems(expression)), [], f"{place}: {expression}")

    def test_rules_refer_to_metrics_that_there_are(self) -> None:
        for rule in alerts():
            self.assert_exist(rule["alert"], rule["expr"])

    def test_dashboard_refers_to_metrics_that_there_are(self) -> None:
        shown = json.loads(DASHBOARD.read_text(encoding="utf-8"))
        for panel in shown["panels"]:
            for target in panel.get("targets", ()):
                self.assert_exist(panel["title"], target["expr"])
        for variable in shown["templating"]["list"]:
            if variable["type"] == "query":
                inner = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
                assert inner is not None
                self.assert_exist(variable["name"], f"sum by ({inner[2]}) ({inner[1]})")
        for annotation in shown["annotations"]["list"]:
            self.assert_exist(annotation["name"], annotation["expr"])

    def test_every_metric_is_on_the_dashboard(self) -> None:
        """One that was added belongs there, too, or is named here with a reason."""
        left_out = {
            "smartproxy_config_reloads_total",  # the annotations show each one
            "smartproxy_cleanup_batches_total",  # the length of the queue is what matters
            "smartproxy_postgres_cancels_total",  # few proxies have any
            "process_virtual_memory_bytes",  # resident memory is what matters
        }
        text = DASHBOARD.read_text(encoding="utf-8")
        names = {name for name in exported() if name != "up" and not name.endswith(("_sum", "_count"))}
        self.assertEqual({name for name in names if not re.search(rf"\b{name}\b", text)}, left_out)

    def test_what_there_is_not_is_found(self) -> None:
        for expression, found in (
            ("rate(smartproxy_gone_total[5m])", ["no metric smartproxy_gone_total"]),
            ('smartproxy_zombies_total{knd="full"}', ["no label knd of smartproxy_zombies_total"]),
            ("sum by (route) (smartproxy_zombies_total)", ["no label route"]),
            ("sum(smartproxy_upstream_dial_seconds)", ["no metric smartproxy_upstream_dial_seconds"]),
            ("vector(1)", ["no metric"]),
            ('sum by (le, route) (smartproxy_upstream_dial_seconds_bucket{job="x"})', []),
        ):
            self.assertEqual(list(problems(expression)), found)


class RuleTests(SynchronousTestCase):
    def test_each_alert_says_what_happened_and_what_to_do(self) -> None:
        for rule in alerts():
            self.assertIn(rule["labels"]["severity"], ("warning", "critical"))
            self.assertEqual(set(rule["annotations"]), {"summary", "description"})
        names = [rule["alert"] for rule in alerts()]
        self.assertEqual(len(set(names)), len(names))

    def test_the_page_lists_exactly_the_alerts(self) -> None:
        page = (ROOT / "docs" / "metrics.rst").read_text(encoding="utf-8")
        self.assertEqual(
            re.findall(r"^``(Smartproxy\w+)`` ", page, re.MULTILINE), [rule["alert"] for rule in alerts()]
        )

    def test_each_alert_has_a_unit_test(self) -> None:
        """promtool runs them: tests/live/test_prometheus.py."""
        tests = yaml.safe_load((ROOT / "tests/live/prometheus_rules.yaml").read_text(encoding="utf-8"))[
            "tests"
        ]
        fired = {test["alertname"] for test in tests[0]["alert_rule_test"] if test["exp_alerts"]}
        self.assertEqual(fired, {rule["alert"] for rule in alerts()})


class DashboardTests(SynchronousTestCase):
    """The parts of Grafana's dashboard model (its documentation: "Dashboard JSON model") that an import needs."""

    def setUp(self) -> None:
        self.shown = json.loads(DASHBOARD.read_text(encoding="utf-8"))
        self.panels: list[dict[str, Any]] = self.shown["panels"]

    def test_dashboard_has_what_an_import_needs(self) -> None:
        types = {
            "title": str, "uid": str, "schemaVersion": int, "version": int, "tags": list, "panels": list, "time": dict,
            "templating": dict, "annotations": dict, "editable": bool, "timezone": str, "refresh": str,
        }  # fmt: skip
        for key, kind in types.items():
            self.assertIs(type(self.shown[key]), kind, key)
        self.assertNotIn("id", self.shown)  # the database's, and another one there

    def test_panels_are_whole_and_do_not_overlap(self) -> None:
        self.assertEqual(len({panel["id"] for panel in self.panels}), len(self.panels))
        taken: set[tuple[int, int]] = set()
        for panel in self.panels:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            self.assertEqual(cells & taken, set(), panel["title"])
            self.assertLessEqual(place["x"] + place["w"], 24, panel["title"])  # the columns of Grafana's grid
            taken |= cells
            if panel["type"] == "row":
                continue
            self.assertIn(panel["type"], ("timeseries", "stat"))
            self.assertTrue(panel["description"] and panel["fieldConfig"]["defaults"]["unit"], panel["title"])
            letters = [target["refId"] for target in panel["targets"]]
            self.assertEqual(len(set(letters)), len(letters))

    def test_every_data_source_is_the_variable(self) -> None:
        """The uid of another Grafana's data source would leave every panel empty."""
        self.assertEqual(set(re.findall(r'"uid": "([^"]+)"', json.dumps(self.panels))), {"${datasource}"})
        variables = [variable["name"] for variable in self.shown["templating"]["list"]]
        self.assertEqual(variables, ["datasource", "job", "instance", "route"])
        used = set(re.findall(r"\$\{?(\w+)", json.dumps(self.shown)))
        self.assertEqual(used, {*variables, "__rate_interval", "__all"})
