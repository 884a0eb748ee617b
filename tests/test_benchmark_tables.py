"""The tables of the benchmarks: their bars, their text, and what a run that was stored earlier looks like."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import report
from benchmarks.http import table
from benchmarks.http.__main__ import OUTPUT
from benchmarks.scorecard import ROWS, results
from benchmarks.series import Series, entry_of

MACHINE = {
    "cpu": "A CPU", "cores": 2, "kernel": "6.1", "python": "3.11.7 (without PGO)", "smartproxy": "interpreted",
    "debian": "3.11.2 (with PGO), interpreted", "compiled": "3.11.7 (without PGO), compiled", "twisted": "26.10.0",
    "haproxy": "2.6.12", "date": "2026-01-02T03:04:05Z",
}  # fmt: skip
TERMINAL = 150
CONNECTION = "A connection, limits, accounting"


def connections(**entries):
    """Three rounds of each entry, whose names have ``_`` in place of ``/``."""
    return {
        "connections": Series(
            "µs/connection", {key.replace("_", "/"): list(of) for key, of in entries.items()}
        )
    }


def everything():
    """A run in which every entry of every row was measured, with numbers of the usual width."""
    measured = {}
    for row in ROWS:
        series = measured.setdefault(row.workload, Series("KiB/connection", seconds=61.4))
        for entry in (*row.columns.values(), row.to):
            if entry:
                series.rounds[entry] = [123.45]
    return report.document(measured, MACHINE, rounds=5, quick=False)


class ScorecardTests(SynchronousTestCase):
    def row(self, title=CONNECTION, **entries):
        (found,) = [each for each in results(connections(**entries)) if each.row.title == title]
        return found

    def test_both_builds_are_compared_with_haproxy_of_the_same_round(self):
        """The median of the ratios, which is not the ratio of the medians where the machine was disturbed."""
        found = self.row(ours=(150, 400, 160), ours_compiled=(130, 390, 139), haproxy=(100, 300, 100))
        self.assertAlmostEqual(found.measured, 1.5)
        self.assertAlmostEqual(found.compiled_measured, 1.3)
        self.assertEqual(found.medians["compiled"], 139)

    def test_each_build_has_its_own_bar(self):
        found = self.row(ours=(150,), ours_compiled=(150,), haproxy=(100,))
        self.assertEqual((found.met, found.compiled_met), (True, False))
        found = self.row(ours=(160,), ours_compiled=(130,), haproxy=(100,))
        self.assertEqual((found.met, found.compiled_met), (False, True))

    def test_a_run_without_the_compiled_build_has_no_verdict_on_it(self):
        found = self.row(ours=(150,), haproxy=(100,)).as_json()
        self.assertEqual(
            (found["compiled_measured"], found["compiled_met"], found["met"]), (None, None, True)
        )
        self.assertIsNone(found["medians"]["compiled"])

    def test_a_row_against_smartproxy_itself_shows_no_other_build(self):
        """The compiled build divided by the interpreted one is not the cost of the limits."""
        found = self.row(
            "Limits, accounting on against off", ours=(106,), ours_bare=(100,), ours_compiled=(90,)
        )
        self.assertEqual((found.medians["compiled"], found.compiled_measured, found.met), (None, None, True))

    def test_the_build_is_at_the_end_of_a_key(self):
        self.assertEqual(entry_of("ours/compiled", "resumed"), "ours/resumed/compiled")
        self.assertEqual(entry_of("haproxy", "resumed"), "haproxy/resumed")
        self.assertEqual(entry_of("ours/debian", ""), "ours/debian")

    def test_only_rows_with_other_builds_have_a_bar_of_the_compiled_one(self):
        self.assertEqual([row.title for row in ROWS if row.compiled_bar and not row.columns["compiled"]], [])

    def test_no_two_rows_have_the_same_title(self):
        self.assertEqual(len({row.title for row in ROWS}), len(ROWS))


class TextTests(SynchronousTestCase):
    def test_the_compiled_build_is_beside_the_interpreted_one(self):
        series = connections(
            ours=(150,),
            ours_debian=(140,),
            ours_compiled=(130,),
            haproxy=(100,),
            nginx=(90,),
            portforward=(180,),
        )
        lines = report.text(report.document(series, MACHINE, rounds=1, quick=True)).splitlines()
        self.assertEqual(" ".join(lines[0].split()), " ".join(report.HEAD))
        self.assertEqual(report.HEAD[7:11], ("compiled", "ratio", "bar", "met"))
        (line,) = [each for each in lines if each.startswith(CONNECTION)]
        cells = line.removeprefix(CONNECTION).split()
        self.assertEqual(
            cells,
            ["µs/connection", "150", "1.50", "x", "haproxy", "1.55", "yes", "140", "130", "1.30", "1.35", "yes", "100", "90", "180"],
        )  # fmt: skip

    def test_a_terminal_is_wide_enough(self):
        content = everything()
        self.assertEqual(len(content["rows"]), len(ROWS))
        self.assertLessEqual(max(map(len, report.text(content).split("\n\n")[0].splitlines())), TERMINAL)

    def test_the_rendered_table_names_python_and_build_of_each_column(self):
        rendered = report.rst(everything())
        for name in ("python", "smartproxy", "debian", "compiled"):
            self.assertIn(MACHINE[name], rendered)

    def test_a_run_says_how_long_it_took(self):
        content = everything()
        self.assertAlmostEqual(content["settings"]["seconds"], 61.4 * len(content["workloads"]))
        self.assertIn(
            "The run took 9 min 13 s; seconds of each workload: bulk 61, ", report.duration(content)
        )


class StoredTests(SynchronousTestCase):
    def test_a_run_stored_without_the_new_columns_is_a_table(self):
        """``-`` stands for what was not measured then."""
        content = json.loads(json.dumps(everything()))
        for key in ("debian", "compiled", "smartproxy"):
            del content["machine"][key]
        del content["settings"]["seconds"]
        for row in content["rows"]:
            for key in ("compiled_bar", "compiled_measured", "compiled_met"):
                del row[key]
            for key in ("debian", "compiled", "nginx"):
                del row["medians"][key]
        rendered = report.rst(content)
        (line,) = [each for each in rendered.splitlines() if each.startswith(CONNECTION)]
        self.assertEqual(line.split()[-8:], ["-", "-", "-", "-", "-", "123", "-", "123"])
        self.assertIn("smartproxy interpreted, Twisted", rendered)
        self.assertEqual(report.duration(content), "")

    def test_the_stored_run_of_http_is_a_table(self):
        stored = report.load(OUTPUT)
        rendered = table.rst(stored)
        for row in stored["rows"]:
            self.assertIn(row["title"], rendered)


class HttpTests(SynchronousTestCase):
    def rows(self, **rounds):
        measured = {
            "requests": Series("µs/request", {key.replace("_", "/"): list(of) for key, of in rounds.items()})
        }
        return table.rows(measured)

    def test_the_compiled_build_has_its_ratio_and_bar(self):
        (row,) = self.rows(ours=(240, 200), ours_compiled=(150, 160), haproxy=(100, 100))
        self.assertAlmostEqual(row["ratio"], 2.2)
        self.assertAlmostEqual(row["compiled_ratio"], 1.55)
        self.assertEqual((row["met"], row["compiled_met"]), (True, True))
        (row,) = self.rows(ours=(240,), ours_compiled=(170,), haproxy=(100,))
        self.assertEqual((row["met"], row["compiled_met"]), (False, False))

    def test_a_variant_is_that_of_each_build(self):
        (row,) = self.rows(
            ours_close=(280,), ours_close_debian=(250,), ours_close_compiled=(190,), haproxy_close=(100,)
        )
        self.assertEqual((row["medians"]["debian"], row["compiled_ratio"]), (250, 1.9))

    def test_without_other_builds_their_cells_are_empty(self):
        content = {"rows": self.rows(ours=(240,), haproxy=(100,))}
        line = table.text(content).splitlines()[1]
        self.assertEqual(line.split()[-8:], ["NO", "-", "-", "-", "1.6", "-", "100", "-"])

    def test_the_bar_of_idle_memory_is_absolute(self):
        (row,) = table.rows({"idle": Series("KiB/connection", {"ours": [4.0], "haproxy": [0.5]})})
        self.assertEqual((row["ratio"], row["met"]), (8.0, True))
        self.assertIn(" 4.5 KiB  yes ", table.text({"rows": [row]}))
