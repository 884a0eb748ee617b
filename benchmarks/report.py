"""The results as a table for a terminal, as a table for the README, and as JSON.

``latest.json`` contains every round, so that other ratios can be computed from it, the rows with their bars, and the
machine. Both tables are made from its rows, so that printed and stored results are the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.processes import ROOT
from benchmarks.scorecard import results
from benchmarks.series import Series

LATEST = ROOT / "docs" / "benchmarks" / "latest.json"

#: The columns of smartproxy, of its other builds and of the other proxies. ``compiled`` has a ratio and a bar too.
HEAD = (
    "workload", "unit", "smartproxy", "ratio", "bar", "met", "Debian", "compiled", "ratio", "bar", "met",
    "haproxy", "nginx", "Twisted",
)  # fmt: skip
_NOTE = (
    "Bars are upper limits. smartproxy is interpreted; Debian: on Debian's Python; compiled: with its ratio to haproxy and the bar "
    "of that. Twisted: portforward."
)
_VERDICT = {True: "yes", False: "NO", None: "-"}
_MINUTE = 60

Document = dict[str, Any]


def document(measured: Mapping[str, Series], machine: Mapping[str, object], **settings: object) -> Document:
    """All data of one run, for JSON."""
    return {
        "machine": dict(machine),
        "settings": {**settings, "seconds": seconds_of(measured)},
        "rows": [result.as_json() for result in results(measured)],
        "workloads": {
            name: {
                "unit": series.unit,
                "seconds": series.seconds,
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


def seconds_of(measured: Mapping[str, Series]) -> float:
    """How long all workloads took, in seconds."""
    return round(sum(series.seconds for series in measured.values()), 1)


def duration(content: Document) -> str:
    """How long a run took, and each of its workloads; empty for a run that was stored without that."""
    seconds = content["settings"].get("seconds")
    if seconds is None:
        return ""
    each = ", ".join(f"{name} {it['seconds']:.0f}" for name, it in content["workloads"].items())
    minutes, rest = divmod(round(seconds), _MINUTE)
    return f"The run took {minutes} min {rest} s; seconds of each workload: {each}."


def text(content: Document) -> str:
    """The table for a terminal."""
    return f"{plain_table([HEAD, *_cells(content)])}\n\n{_NOTE}"


def rst(content: Document) -> str:
    """The same as a reStructuredText simple table, and a line about the machine."""
    return f"{rst_table([HEAD, *_cells(content)])}\n\n{_NOTE}\n\n{where(content)}"


def where(content: Document) -> str:
    """The machine and the versions of a run in one line."""
    machine = content["machine"]
    debian = f", on Debian's Python {machine['debian']}" if machine.get("debian") else ""
    compiled = f", on Python {machine['compiled']}" if machine.get("compiled") else ""
    return (
        f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, Python {machine['python']}, "
        f"smartproxy {machine.get('smartproxy', 'interpreted')}{debian}{compiled}, Twisted {machine['twisted']}, "
        f"haproxy {machine['haproxy']}, {machine['date'][:10]}; median of {content['settings']['rounds']} rounds."
    )


def plain_table(lines: Sequence[tuple[str, ...]]) -> str:
    """Aligned columns, the first line being the head."""
    widths = _widths(lines)
    return "\n".join(_line(cells, widths) for cells in lines)


def rst_table(lines: Sequence[tuple[str, ...]]) -> str:
    """The same as a simple table of reStructuredText."""
    widths = _widths(lines)
    rule = "  ".join("=" * width for width in widths)
    head, *body = (_line(cells, widths) for cells in lines)
    return "\n".join([rule, head, rule, *body, rule])


def _cells(content: Document) -> Iterable[tuple[str, ...]]:
    for row in content["rows"]:
        medians = row["medians"]
        to = row["to"] and row["to"].partition("/")[0]
        yield (
            row["title"],
            medians["unit"],
            number(medians["ours"]),
            f"{row['measured']:.2f} x {to}" if to and row["measured"] is not None else "-",
            bar(row["bar"]),
            verdict(row["met"]),
            number(medians.get("debian")),
            number(medians.get("compiled")),
            number(row.get("compiled_measured"), ".2f"),
            bar(row.get("compiled_bar")),
            verdict(row.get("compiled_met")),
            *(number(medians.get(name)) for name in ("haproxy", "nginx", "portforward")),
        )


def number(value: float | None, form: str = ".3g") -> str:
    """A cell."""
    return "-" if value is None else format(value, form)


def bar(value: float | None) -> str:
    """The cell of a bar, all of whose digits count."""
    return number(value, "g")


def verdict(met: bool | None) -> str:
    """The cell that says whether a bar is met."""
    return _VERDICT[met]


def _widths(lines: Iterable[tuple[str, ...]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*lines, strict=True)]


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
