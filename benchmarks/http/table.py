"""The rows of HTTP with their bars, as a table and as JSON.

The columns are those of the proxies; the ratio is the median of the ratios of the rounds, to haproxy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from benchmarks import report
from benchmarks.scorecard import is_met
from benchmarks.series import Series, entry_of

#: The columns of the medians, and the contestant of each.
_COLUMNS = {
    "ours": "ours",
    "debian": "ours/debian",
    "compiled": "ours/compiled",
    "haproxy": "haproxy",
    "nginx": "nginx",
}
_HEAD = tuple("to haproxy" if name == "ratio" else name for name in report.HEAD if name != "Twisted")
_NOTE = "Bars are upper limits. smartproxy is interpreted; Debian: on Debian's Python; compiled: with its ratio and the bar of that."


class HttpRow(NamedTuple):
    """One line of the table.

    :ivar variant: of each proxy, as in the keys of the entries.
    :ivar bar: upper limit of the ratio to haproxy, or of the median where it ``is_absolute``; ``None`` is shown only.
    :ivar compiled_bar: upper limit of the ratio of the compiled build to haproxy; ``None`` is shown only.
    """

    title: str
    workload: str
    variant: str = ""
    bar: float | None = None
    compiled_bar: float | None = None
    is_absolute: bool = False


ROWS = (
    HttpRow("A request on a kept connection", "requests", "", 2.3, 1.6),
    HttpRow("The same without an access log", "requests", "no log", 2.3, 1.6),
    HttpRow("A browser's head, all different", "requests", "browser", 2.6),
    HttpRow("A request over TLS", "requests", "tls", 2.2),
    HttpRow("A request with Connection: close", "requests", "close", 3.0, 1.9),
    HttpRow("1 MB down", "transfers", "down", 0.75),
    HttpRow("1 MB up", "transfers", "up", 1.0),
    HttpRow("WebSocket, echo of 1 KiB", "tunnels", "", 1.7),
    HttpRow("An idle kept connection", "idle", "", 4.5, is_absolute=True),
    HttpRow("Latency, 99 % at half load", "latency", "", 3.0),
)


def rows(measured: Mapping[str, Series]) -> list[dict[str, Any]]:
    """The rows of workloads that were measured, with the medians of all columns: None where there is no entry."""
    made = []
    for row in ROWS:
        series = measured.get(row.workload)
        if series is None or series.median(entry_of("ours", row.variant)) is None:
            continue
        entries = {name: entry_of(key, row.variant) for name, key in _COLUMNS.items()}
        medians = {name: series.median(entry) for name, entry in entries.items()}
        ratio, compiled = (series.ratio(entries[name], entries["haproxy"]) for name in ("ours", "compiled"))
        made.append(
            {
                **row._asdict(),
                "unit": series.unit,
                "medians": medians,
                "ratio": ratio,
                "met": is_met(medians["ours"] if row.is_absolute else ratio, row.bar),
                "compiled_ratio": compiled,
                "compiled_met": is_met(compiled, row.compiled_bar),
            }
        )
    return made


def text(content: Mapping[str, Any]) -> str:
    """The table for a terminal."""
    return f"{report.plain_table([_HEAD, *_cells(content)])}\n\n{_NOTE}"


def rst(content: Mapping[str, Any]) -> str:
    """The same as a reStructuredText simple table, and a line about the machine."""
    table = report.rst_table([_HEAD, *_cells(content)])
    return f"{table}\n\n{_NOTE}\n\n{report.where(dict(content))}"


def _cells(content: Mapping[str, Any]) -> Iterable[tuple[str, ...]]:
    """A line of cells for each row; those of a run that was stored without the compiled build are empty."""
    for row in content["rows"]:
        medians = row["medians"]
        yield (
            row["title"],
            row["unit"],
            report.number(medians["ours"]),
            report.number(row["ratio"], ".2f"),
            report.bar(row["bar"]) + (" KiB" if row["is_absolute"] else ""),
            report.verdict(row["met"]),
            report.number(medians.get("debian")),
            report.number(medians.get("compiled")),
            report.number(row.get("compiled_ratio"), ".2f"),
            report.bar(row.get("compiled_bar")),
            report.verdict(row.get("compiled_met")),
            *(report.number(medians.get(name)) for name in ("haproxy", "nginx")),
        )
