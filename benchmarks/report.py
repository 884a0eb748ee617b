"""The results as a table for a terminal, as a table for the README, and as JSON.

``latest.json`` contains every round, so that other ratios can be computed from it, the rows with their bars, and the
machine. Both tables are made from its rows, so that printed and stored results are the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.processes import ROOT
from benchmarks.scorecard import results
from benchmarks.series import Series

LATEST = ROOT / "docs" / "benchmarks" / "latest.json"

_HEAD = (
    "workload",
    "unit",
    "smartproxy",
    "Debian's Python",
    "haproxy",
    "nginx",
    "portforward",
    "ratio",
    "bar",
    "met",
)
_VERDICT = {True: "yes", False: "NO", None: "-"}

Document = dict[str, Any]


def document(measured: Mapping[str, Series], machine: Mapping[str, object], **settings: object) -> Document:
    """All data of one run, for JSON."""
    return {
        "machine": dict(machine),
        "settings": settings,
        "rows": [result.as_json() for result in results(measured)],
        "workloads": {
            name: {
                "unit": series.unit,
                "medians": {key: series.median(key) for key in series.rounds},
                "rounds": series.rounds,
            }
            for name, series in measured.items()
        },
    }


def save(content: Document, path: Path = LATEST) -> None:
    """Write it with one value a line, so that two runs can be compared by ``diff``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def load(path: Path = LATEST) -> Document:
    """Read a stored run.

    :raises FileNotFoundError: if nothing has been measured yet.
    """
    content: Document = json.loads(path.read_text())
    return content


def text(content: Document) -> str:
    """The table for a terminal."""
    lines = [_HEAD, *_cells(content)]
    widths = _widths(lines)
    return "\n".join(_line(cells, widths) for cells in lines)


def rst(content: Document) -> str:
    """The same as a reStructuredText simple table, and a line about the machine."""
    lines = [_HEAD, *_cells(content)]
    widths = _widths(lines)
    rule = "  ".join("=" * width for width in widths)
    head, *body = (_line(cells, widths) for cells in lines)
    machine = content["machine"]
    debian = f" and Debian's {machine['debian']}" if machine.get("debian") else ""
    where = (
        f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, Python {machine['python']}{debian}, "
        f"smartproxy {machine.get('smartproxy', 'interpreted')}, Twisted {machine['twisted']}, haproxy {machine['haproxy']}, {machine['date'][:10]}; "
        f"median of {content['settings']['rounds']} rounds."
    )
    return "\n".join([rule, head, rule, *body, rule, "", where])


def _cells(content: Document) -> Iterable[tuple[str, ...]]:
    for row in content["rows"]:
        medians = row["medians"]
        yield (
            row["title"],
            medians["unit"],
            *(_number(medians.get(name)) for name in ("ours", "debian", "haproxy", "nginx", "portforward")),
            f"{row['measured']:.2f} x {row['to']}" if row["to"] else "-",
            f"≤ {row['bar']:g}" if row["bar"] is not None else "-",
            _VERDICT[row["met"]],
        )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _widths(lines: Iterable[tuple[str, ...]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*lines, strict=True)]


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
