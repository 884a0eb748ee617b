"""The rows of HTTP with their bars, as a table and as JSON.

The columns are those of the proxies; the ratio is the median of the ratios of the rounds, to haproxy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from benchmarks.series import Series


class HttpRow(NamedTuple):
    """One line of the table.

    :ivar variant: is added to each proxy's name.
    :ivar bar: upper limit of the ratio to haproxy, or of the median where there ``is_absolute``; ``None`` is shown only.
    """

    title: str
    workload: str
    variant: str = ""
    bar: float | None = None
    is_absolute: bool = False


ROWS = (
    HttpRow("A request on a kept connection", "requests", "", 2.3),
    HttpRow("The same without an access log", "requests", "/no log", 2.3),
    HttpRow("A browser's head, all different", "requests", "/browser", 2.6),
    HttpRow("A request over TLS", "requests", "/tls", 2.2),
    HttpRow("A request with Connection: close", "requests", "/close", 3.0),
    HttpRow("1 MB down", "transfers", "/down", 0.75),
    HttpRow("1 MB up", "transfers", "/up", 1.0),
    HttpRow("WebSocket, echo of 1 KiB", "tunnels", "", 1.7),
    HttpRow("An idle kept connection", "idle", "", 6.0, is_absolute=True),
    HttpRow("Latency, 99th percentile at half load", "latency", "", 3.0),
)


def rows(measured: Mapping[str, Series], names: tuple[str, ...]) -> list[dict[str, Any]]:
    """The rows of workloads that were measured, with the medians of the proxies called ``names``."""
    made = []
    for row in ROWS:
        series = measured.get(row.workload)
        if series is None or series.median("ours" + row.variant) is None:
            continue
        medians = {name: series.median(name + row.variant) for name in names}
        ratio = series.ratio("ours" + row.variant, "haproxy" + row.variant)
        compared = medians["ours"] if row.is_absolute else ratio
        met = None if row.bar is None or compared is None else compared <= row.bar
        made.append({**row._asdict(), "unit": series.unit, "medians": medians, "ratio": ratio, "met": met})
    return made


def text(content: Mapping[str, Any]) -> str:
    """The table for a terminal."""
    names = tuple(content["rows"][0]["medians"]) if content["rows"] else ()
    lines: list[tuple[str, ...]] = [("workload", "unit", *names, "to haproxy", "bar", "met")]
    for row in content["rows"]:
        medians = (_number(row["medians"][name]) for name in names)
        bar = (
            "-"
            if row["bar"] is None
            else f"≤ {row['bar']:g}{' ' + row['unit'] if row['is_absolute'] else ' x'}"
        )
        verdict = {True: "yes", False: "NO", None: "-"}[row["met"]]
        lines.append((row["title"], row["unit"], *medians, _number(row["ratio"]), bar, verdict))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
