"""Lays out tables and lines of text for a terminal of a given size. Every line fits the width.

A :class:`Column` says from which width of the terminal on it is shown. The first column takes the width that the others
leave, and is cut in the middle: names that begin alike often end differently.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from smartproxy.cli.admin_client import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_GAP = 2
_UNITS = ("", "k", "M", "G", "T", "P", "E")
_STEP = 1000


class Column(NamedTuple):
    """A column of a table.

    :ivar cell: the text of a row, in this column.
    :ivar width: in characters; a longer text is cut. 0 is what the other columns leave.
    :ivar shown_from: width of the terminal from which on it is shown.
    :ivar is_text: whether it is aligned to the left.
    :ivar style: the style of the cell of a row; empty is that of the row.
    """

    heading: str
    cell: Callable[[Any], str]
    width: int = 0
    shown_from: int = 0
    is_text: bool = False
    style: Callable[[Any], str] | None = None


def cut(text: str, width: int) -> str:
    """``text`` in ``width`` characters at most, with … in place of its middle."""
    if cell_len(text) <= width:
        return text
    if width <= 1:
        return "…"[:width]
    tail = (width - 1) // 2
    return set_cell_size(text, width - 1 - tail) + "…" + set_cell_size(text[::-1], tail)[::-1]


def cut_end(text: str, width: int) -> str:
    """``text`` in ``width`` characters at most, with … in place of its end."""
    return text if cell_len(text) <= width else set_cell_size(text, max(width - 1, 0)) + "…"[:width]


def brief(items: Sequence[object], width: int) -> str:
    """``items`` in ``width`` characters, as many as fit, and the number of the others: ``443, 8000-8010 +2``."""
    for shown in range(len(items), 0, -1):
        left = f" +{len(items) - shown}" if shown < len(items) else ""
        text = ", ".join(map(str, items[:shown])) + left
        if cell_len(text) <= width:
            return text
    return cut(", ".join(map(str, items)), width)


def table(columns: Sequence[Column], rows: Iterable[Any], width: int, style: str = "") -> list[Text]:
    """The lines of a table: headings, then one line for each row.

    :param style: of the rows.
    """
    shown = [column for column in columns if width >= column.shown_from]
    rest = width - sum(column.width + _GAP for column in shown if column.width)
    widths = [column.width or max(rest, 1) for column in shown]
    heading = _line(shown, widths, [Text(column.heading) for column in shown], width)
    heading.style = "bold"
    lines = [heading]
    for row in rows:
        line = _line(shown, widths, [_cell(column, row) for column in shown], width)
        line.style = style
        lines.append(line)
    return lines


def marked(
    columns: Sequence[Column], sort: str, names: str, by_name: bool, is_reversed: bool
) -> list[Column]:
    """``columns`` with a mark at the one that sorts.

    :param sort: the heading of that column.
    :param names: the heading of the column of names.
    :param by_name: whether that one sorts: upwards, unless it is reversed; numbers sort downwards.
    """
    mark = "▲" if is_reversed != by_name else "▼"
    wanted = names if by_name else sort
    return [
        column._replace(heading=column.heading + mark) if column.heading == wanted else column
        for column in columns
    ]


def _cell(column: Column, row: Any) -> Text:
    return Text(printable(column.cell(row)), column.style(row) if column.style is not None else "")


def _line(columns: Sequence[Column], widths: list[int], cells: list[Text], most: int) -> Text:
    """The cells in one line of ``most`` characters at most."""
    line = Text()
    for number, (column, width, cell) in enumerate(zip(columns, widths, cells, strict=True)):
        text = cut(cell.plain, width)
        padding = " " * (width - cell_len(text))
        line.append(" " * _GAP if number else "")
        line.append("" if column.is_text else padding)
        line.append(text, cell.style or None)
        line.append(padding if column.is_text else "")
    line.rstrip()
    if cell_len(line.plain) > most:
        line.truncate(most, overflow="ellipsis")
    return line


def flow(parts: Iterable[str], width: int, gap: str = "   ") -> list[Text]:
    """``parts`` on as few lines as they fit, each part whole; one that is wider than a line is cut."""
    lines: list[str] = []
    for part in parts:
        if lines and cell_len(lines[-1] + gap + part) <= width:
            lines[-1] += gap + part
        else:
            lines.append(cut_end(part, width))
    return [Text(line) for line in lines]


def share(lines: int, routes: int, clients: int) -> tuple[int, int]:
    """How many routes and how many clients are shown in ``lines`` lines, one of which is needed by each.

    Clients have a quarter of the lines, and what routes do not need.
    """
    lines = max(lines, 0)
    of_clients = min(clients, max(lines // 4, lines - routes))
    return min(routes, lines - of_clients), of_clients


def size(count: float | None) -> str:
    """A number of bytes in at most six characters: ``77 B``, ``1.5 kB``, ``150 MB``; ``-`` where it is not known."""
    if count is None:
        return "-"
    digits, unit = _scaled(count)
    return f"{digits} {_UNITS[unit]}B"


def rate(count: float) -> str:
    """A number of bytes per second; ``-`` for less than one."""
    return f"{size(count)}/s" if count >= 1 else "-"


def number(count: int | None) -> str:
    """A number in at most six characters; ``-`` where it is not known."""
    if count is None:
        return "-"
    if count < _STEP**2:
        return str(count)
    digits, unit = _scaled(count)
    return f"{digits}{_UNITS[unit]}"


def _scaled(count: float) -> tuple[str, int]:
    """``count`` in three digits, and the unit that they are in, as an index of :data:`_UNITS`."""
    unit = 0
    while count >= _STEP - 0.5 and unit < len(_UNITS) - 1:
        count /= _STEP
        unit += 1
    return (f"{count:.1f}" if unit and count < 9.95 else f"{count:.0f}"), unit  # noqa: PLR2004 - rounds to 10
