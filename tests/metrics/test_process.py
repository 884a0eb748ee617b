"""The metrics of the process, compared with prometheus-client's ProcessCollector."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.metrics.process import process_families
from smartproxy.metrics.prometheus import exposition
from tests.admin.doubles import Listener

PARSERS = {"": parse_text, "application/openmetrics-text": parse_openmetrics}


def ours(accept="", proc=Path("/proc")):
    """The families of the page, by name."""
    page = b"".join(exposition(process_families(proc), accept)[0]).decode()
    return {family.name: family for family in PARSERS[accept](page)}


class ProcessTests(SynchronousTestCase):
    if not sys.platform.startswith("linux"):
        skip = "there is no /proc"

    def theirs(self):
        return {family.name: family for family in ProcessCollector(registry=CollectorRegistry()).collect()}

    def test_names_types_and_meanings_are_those_of_prometheus_client(self):
        for accept in PARSERS:
            self.assertEqual(
                {(each.name, each.type, each.documentation) for each in ours(accept).values()},
                {(each.name, each.type, each.documentation) for each in self.theirs().values()},
            )

    def test_values_are_those_of_prometheus_client(self):
        values = {name: family.samples[0].value for name, family in ours().items()}
        for name, family in self.theirs().items():
            (sample,) = family.samples
            # It counts the descriptor with which it reads the directory, and CPU time and memory grow meanwhile.
            near = {"process_open_fds": 2, "process_cpu_seconds": 2, "process_start_time_seconds": 0.02}
            self.assertApproximates(values[name], sample.value, near.get(name, sample.value / 10))

    def test_open_descriptors_are_counted(self):
        before = ours()["process_open_fds"].samples[0].value
        opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(10)]
        for each in opened:
            self.addCleanup(os.close, each)
        self.assertEqual(ours()["process_open_fds"].samples[0].value, before + 10)

    def test_descriptors_are_counted_where_the_kernel_gives_no_size(self):
        """Before Linux 6.2 the size of /proc/self/fd was 0."""
        fake = self.fake()
        for number in range(7):
            (fake / "self/fd" / str(number)).symlink_to("/dev/null")
        self.patch(os, "stat", lambda *_, **__: os.stat_result([0] * 10))
        self.assertEqual(ours(proc=fake)["process_open_fds"].samples[0].value, 7)

    def test_name_of_a_program_may_have_blanks_and_parentheses(self):
        fake = self.fake(name="twistd) R 9 (x")
        self.assertEqual(ours(proc=fake)["process_virtual_memory_bytes"].samples[0].value, 22)

    def test_nothing_is_shown_without_proc(self):
        self.assertEqual(ours(proc=Path("/no/such/directory")), {})

    def fake(self, name="twistd"):
        """A /proc whose fields of stat are their numbers minus one."""
        proc = Path(self.mktemp())
        (proc / "self/fd").mkdir(parents=True)
        fields = " ".join(map(str, range(2, 52)))
        (proc / "self/stat").write_text(f"1 ({name}) {fields}\n")
        (proc / "stat").write_text("cpu 1 2 3\nbtime 1000\n")
        return proc

    def test_page_of_the_admin_listener_has_them(self):
        answer = Listener().get("/metrics")
        self.assertIn(b"\nprocess_open_fds ", answer.body)
        self.assertIn(b"\nprocess_start_time_seconds ", answer.body)
