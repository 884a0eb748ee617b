"""A chart of a stored run: ``python -m benchmarks.chart`` writes ``docs/benchmarks/latest.svg`` from ``latest.json``.

A bar for each row that is compared with haproxy: how many times as much as haproxy smartproxy uses, or how many times as long it
takes; the line is haproxy. Rates, of which more is better, are left out.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape

from benchmarks import report
from benchmarks.report import Document

_ROW, _BAR = 26, 16
_LABELS, _WIDTH, _MARGIN = 330, 420, 60
_TOP = 34
_STYLE = (
    "text{font:13px sans-serif;fill:#222}.less{fill:#2a7f4f}.more{fill:#c2702b}"
    ".line{stroke:#222;stroke-dasharray:4 3}.ground{fill:#fff}"
)


def compared(content: Document) -> list[tuple[str, float]]:
    """Title and ratio of each row that is compared with haproxy, in the order of the table."""
    found = []
    for row in content["rows"]:
        is_rate = row["medians"]["unit"].endswith("/s")
        is_to_haproxy = row["to"] is not None and row["to"].partition("/")[0] == "haproxy"
        if is_to_haproxy and not is_rate and row["measured"] is not None:
            found.append((row["title"], row["measured"]))
    return found


def svg(content: Document) -> str:
    """The chart."""
    rows = compared(content)
    scale = _WIDTH / max([1.0, *(ratio for _, ratio in rows)])
    height = _TOP + _ROW * len(rows) + _MARGIN // 2
    bottom, at = height - _MARGIN // 2, _LABELS + scale
    machine = content["machine"]
    where = escape(f"{machine['cpu']}, Python {machine['python']}, {machine['date'][:10]}")
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LABELS + _WIDTH + _MARGIN}" height="{height}" role="img">',
            "<title>smartproxy, as a multiple of haproxy</title>",
            f"<style>{_STYLE}</style>",
            '<rect class="ground" width="100%" height="100%"/>',
            f'<text x="{at:.1f}" y="20" text-anchor="middle">haproxy = 1</text>',
            *_bars(rows, scale),
            f'<line class="line" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP - 6}" y2="{bottom}"/>',
            f'<text x="10" y="{height - 9}">{where}</text>',
            "</svg>\n",
        ]
    )


def _bars(rows: list[tuple[str, float]], scale: float) -> Iterator[str]:
    for number, (title, ratio) in enumerate(rows):
        top, width = _TOP + _ROW * number, ratio * scale
        kind, text = "less" if ratio <= 1 else "more", top + _BAR - 3
        yield f'<text x="{_LABELS - 10}" y="{text}" text-anchor="end">{escape(title)}</text>'
        yield f'<rect class="{kind}" x="{_LABELS}" y="{top}" width="{width:.1f}" height="{_BAR}"/>'
        yield f'<text x="{_LABELS + max(width, scale) + 6:.1f}" y="{text}">{ratio:.2f}</text>'


def save(content: Document, path: Path) -> None:
    """Write the chart of a run."""
    path.write_text(svg(content))


if __name__ == "__main__":
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else report.LATEST
    save(report.load(source), source.with_suffix(".svg"))
