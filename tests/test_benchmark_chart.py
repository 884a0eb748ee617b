"""The chart of the benchmarks, which is made from their stored results."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import chart, report

SVG = "{http://www.w3.org/2000/svg}"
MACHINE = {"cpu": "A & B", "python": "3.11.7", "date": "2026-01-02T03:04:05Z"}


def content(*rows):
    return {
        "machine": MACHINE,
        "rows": [
            {"title": title, "to": to, "measured": measured, "medians": {"unit": "".join(unit) or "µs"}}
            for title, to, measured, *unit in rows
        ],
    }


class ChartTests(SynchronousTestCase):
    def drawn(self, *rows):
        """Class and width of each bar, and the texts."""
        root = ET.fromstring(chart.svg(content(*rows)))  # noqa: S314 - our own
        bars = [
            (bar.get("class"), float(bar.get("width")))
            for bar in root.iter(f"{SVG}rect")
            if bar.get("class") != "ground"
        ]
        return bars, [text.text for text in root.iter(f"{SVG}text")]

    def test_a_bar_for_each_row_compared_with_haproxy(self):
        bars, texts = self.drawn(
            ("Bulk", "haproxy", 0.5), ("Over TLS", "haproxy/re-encrypt", 2.0), ("Other", "ours", 1.1), ("None", None, 3),
            ("A rate, of which more is better", "haproxy", 0.5, "connections/s"),
        )  # fmt: skip
        self.assertEqual([kind for kind, _ in bars], ["less", "more"])
        self.assertAlmostEqual(bars[1][1] / bars[0][1], 4)
        self.assertEqual(texts[1:5], ["Bulk", "0.50", "Over TLS", "2.00"])

    def test_titles_and_machine_are_escaped(self):
        _, texts = self.drawn(("1 < 2 & more", "haproxy", 1.0))
        self.assertEqual((texts[1], texts[-1]), ("1 < 2 & more", "A & B, Python 3.11.7, 2026-01-02"))

    def test_a_run_without_comparisons_is_drawn(self):
        self.assertEqual(self.drawn()[0], [])

    def test_the_stored_run_is_a_table(self):
        """Also one that was stored before a column was added."""
        table = report.rst(report.load())
        self.assertIn("smartproxy", table)
        self.assertEqual(len(table.splitlines()), len(report.load()["rows"]) + 8)

    def test_the_stored_chart_is_that_of_the_stored_run(self):
        stored = Path(report.LATEST).with_suffix(".svg").read_text()
        self.assertEqual(stored, chart.svg(report.load()))
