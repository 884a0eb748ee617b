"""The series of targets."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.metrics.families import families
from smartproxy.metrics.prometheus import exposition
from smartproxy.model.plan import GroupPlan, TargetPlan
from smartproxy.upstream.member import LAST_SCRAPE
from tests.admin.doubles import FakeControl

TARGETS = (TargetPlan(("10.0.0.1",), 9000, name="one"), TargetPlan(("10.0.0.2",), 9000, name="two"))


class TargetSeriesTests(SynchronousTestCase):
    def setUp(self):
        self.control = FakeControl()
        self.groups = self.control.groups._groups
        self.control.counters.targets = self.control.groups
        self.groups.apply({"app": GroupPlan("app", TARGETS)})

    def series(self):
        page, _ = exposition(families(self.control.registry, self.control.counters))
        lines = b"".join(page).decode().splitlines()
        return dict(line.rsplit(" ", 1) for line in lines if line.startswith("smartproxy_target_"))

    def test_every_series_of_a_target_begins_at_0(self):
        series = self.series()
        of_one = {name: value for name, value in series.items() if 'target="one"' in name}
        self.assertEqual(of_one.pop('smartproxy_target_up{group="app",target="one"}'), "1")
        self.assertEqual(len(of_one), 11)
        self.assertEqual(set(of_one.values()), {"0"})
        self.assertEqual(series['smartproxy_target_queue_length{group="app"}'], "0")

    def test_dials_ejections_and_bytes_are_counted(self):
        group = self.groups.find("app")
        one, two = group.take("x"), group.take("x")
        group.succeeded(one)
        group.failed(two, "timeout", "no answer")
        one.member.received, one.member.sent = 10, 20
        record = self.control.connect(received=1, sent=2)
        record.member = one.member
        series = self.series()

        def value(name, target, **more):
            labels = sorted({"group": "app", "target": target, **more}.items())
            shown = ",".join(f'{key}="{text}"' for key, text in labels)
            return series[f"smartproxy_target_{name}{{{shown}}}"]

        self.assertEqual(value("connections_total", "one", result="ok"), "1")
        self.assertEqual(value("connections_total", "two", result="timeout"), "1")
        self.assertEqual((value("up", "two"), value("ejections_total", "two")), ("0", "1"))
        self.assertEqual(value("connections_active", "one"), "1")
        self.assertEqual(
            (value("received_bytes_total", "one"), value("sent_bytes_total", "one")), ("11", "22")
        )

    def test_series_of_removed_targets_end(self):
        for number in range(50):
            self.groups.apply({"app": GroupPlan("app", (TargetPlan((f"10.0.1.{number}",), 80),))})
            self.groups.find("app")
        self.control.clock.advance(LAST_SCRAPE)
        self.groups.members.prune(self.control.clock.seconds())
        names = {name for name in self.series() if name.startswith("smartproxy_target_up")}
        self.assertEqual(names, {'smartproxy_target_up{group="app",target="10.0.1.49:80"}'})
