"""The screen of ``smartproxy top``: sorting and filtering, and what it consists of.

A :class:`Board` does not depend on a terminal, a clock or HTTP. Its input is snapshots of the admin API and keys, its output
lines for a terminal of a given size, which :mod:`smartproxy.cli.screen` lays out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from smartproxy.cli.admin_client import printable
from smartproxy.cli.screen import Column, brief, cut_end, flow, marked, number, rate, share, size, table
from smartproxy.cli.target_view import TARGET_SORTS, TargetView

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from smartproxy.cli.admin_client import JsonObject
    from smartproxy.cli.snapshot import RequestNumbers, RouteRow, Snapshot

#: The keys that sort, and the column that each sorts by.
SORTS = {"n": "name", "a": "active", "t": "total", "i": "in", "o": "out"}
_ENTER, _ESCAPE, _ERASE = "\r\n", "\x1b", "\x7f\b"
#: Lines of a screen without a limit, as for a pipe.
UNLIMITED = 1_000_000
#: Terminals of fewer columns have no room for what is only nice to have.
_WIDE = 80
#: Terminals of fewer lines show neither clients nor blank lines.
_LOW = 10

#: The number of a row in each column but the name.
_SORT_NUMBERS: dict[str, Callable[[RouteRow], float]] = {
    "active": lambda row: row["active"],
    "total": lambda row: row["total"] or 0,
    "in": lambda row: row["in"],
    "out": lambda row: row["out"],
}


def _destination(row: RouteRow) -> str:
    return brief(row["targets"], 24) or row["action"] or "-"


#: The columns of routes after the name. The first four leave 22 of 60 characters to the name.
_NUMBERS = (
    Column("active", lambda row: number(row["active"]), 7),
    Column("total", lambda row: number(row["total"]), 7),
    Column("in", lambda row: rate(row["in"]), 8),
    Column("out", lambda row: rate(row["out"]), 8),
    Column("received", lambda row: size(row["bytesReceived"]), 8, shown_from=100),
    Column("sent", lambda row: size(row["bytesSent"]), 6, shown_from=100),
    Column("ports", lambda row: brief(row["ports"], 14) or "-", 14, shown_from=110, is_text=True),
    Column("targets", _destination, 24, shown_from=130, is_text=True),
)
#: Where some route speaks HTTP: its requests under way, and those that have ended. Targets need a wider terminal then.
_REQUESTS = Column("requests", lambda row: _requests(row["requests"]), 13, shown_from=110)
_HTTP_NUMBERS = (*_NUMBERS[:2], _REQUESTS, *_NUMBERS[2:-1], _NUMBERS[-1]._replace(shown_from=145))


def _requests(numbers: RequestNumbers | None) -> str:
    return "-" if numbers is None else f"{number(numbers['active'])}/{number(numbers['total'])}"


def _client_columns(of_routes: Sequence[Column]) -> list[Column]:
    """The columns of clients, in the places of those of routes."""
    return [
        Column("busiest clients", lambda row: row["ip"], is_text=True),
        *(
            column
            if column.heading in {"active", "in", "out"}
            else column._replace(heading="", cell=lambda _: "")
            for column in of_routes
        ),
    ]


class Board:
    """The screen and its state: order, filter, and the last snapshot.

    :param sort: a column of :data:`SORTS`.
    :param only: show only routes, or targets, whose names contain this.
    :param targets: whether to begin with the view of targets.
    :ivar shows_targets: whether the view of targets is shown, so that they are needed in the next snapshot.
    :ivar has_quit: whether the user has pressed ``q``.
    """

    def __init__(self, sort: str = "active", only: str = "", *, targets: bool = False) -> None:
        self._sort = sort
        self._reversed = False
        self._filter = only
        self._targets = TargetView()
        self.shows_targets = targets
        self._typing: str | None = None
        self._snapshot: Snapshot | None = None
        self._failure = ""
        self._age = 0.0
        self.has_quit = False

    @property
    def needs_targets(self) -> bool:
        """Whether the targets are to be shown, and the last snapshot has none."""
        return self.shows_targets and self._snapshot is not None and self._snapshot.targets is None

    def update(self, now: Snapshot) -> None:
        """Show a new snapshot."""
        self._snapshot, self._failure = now, ""

    def fail(self, why: str, age: float = 0.0) -> None:
        """Show why there is no new snapshot, and mark the last one as stale.

        :param age: of the last snapshot, in seconds.
        """
        self._failure, self._age = why, age

    def press(self, key: str) -> None:
        """Handle a key: one character."""
        if self._typing is not None:
            self._edit_filter(self._typing, key)
        elif key == "q":
            self.has_quit = True
        elif key == "g":
            self.shows_targets = not self.shows_targets
        elif key == "/":
            self._typing = ""
        elif self.shows_targets:
            self._targets.press(key)
        elif key == "r":
            self._reversed = not self._reversed
        elif key in SORTS:
            self._sort, self._reversed = SORTS[key], False

    def _edit_filter(self, so_far: str, key: str) -> None:
        """Handle a key while the filter is typed. Every key takes effect at once."""
        if key in _ENTER:
            self._typing = None
        elif key == _ESCAPE:
            self._typing, self._filter = None, ""
        else:
            so_far = so_far[:-1] if key in _ERASE else so_far + key if key.isprintable() else so_far
            self._typing = self._filter = so_far

    def visible_routes(self, now: Snapshot) -> list[RouteRow]:
        """The routes that match the filter, in order: numbers descending, names ascending."""
        routes = [route for route in now.routes if self._filter.lower() in route["name"].lower()]
        routes.sort(key=lambda route: route["name"])
        if self._sort != "name":
            # Stable: routes with equal numbers stay in the order of their names.
            routes.sort(key=_SORT_NUMBERS[self._sort], reverse=True)
        return routes[::-1] if self._reversed else routes

    def render(self, width: int, height: int = UNLIMITED, *, keys: bool = True) -> list[Text]:
        """The lines of the screen, ``height`` at most, each ``width`` characters at most.

        :param keys: whether the last line lists the keys.
        """
        if self._snapshot is None:
            return [Text((self._failure and f"{self._failure}; retrying") or "connecting ...")]
        head, foot = self._head(self._snapshot, width), list(_troubles(self._snapshot, width))
        if keys:
            foot.append(self._help_line(width))
        show = self._target_table if self.shows_targets else self._tables
        tables = show(self._snapshot, width, height - len(head) - len(foot))
        return [*head, *tables, *foot][:height]

    def _head(self, now: Snapshot, width: int) -> list[Text]:
        recent, counted = now.throughput["recent"], now.connections
        state = printable(now.state) + (f", {_seconds(self._age)} ago" if self._failure else "")
        program = "smartproxy " if width >= _WIDE else ""
        parts = (
            f"{program}{state}: {counted['active']} active of {number(counted['total'])}",
            f"in {rate(recent['in'])}",
            f"out {rate(recent['out'])}",
        )
        lines = flow(parts, width)
        for line in lines:
            line.stylize("dim" if self._failure else "bold")
        if self._failure:
            why = f"STALE: retrying after {_seconds(self._age)} without a reply: {self._failure}"
            lines.insert(0, Text(cut_end(why, width), style="bold red"))
        return lines

    def visible_targets(self, now: Snapshot) -> list[JsonObject]:
        """The targets that match the filter, in order; none where they were not asked for."""
        return self._targets.visible(now.targets or [], self._filter)

    def _target_table(self, now: Snapshot, width: int, lines: int) -> list[Text]:
        """The view of targets, in ``lines`` lines at most."""
        gap = [Text()] if lines >= _LOW else []
        if now.targets is None:
            return [*gap, Text(cut_end("targets: waiting for a reply ...", width)), *gap]
        shown = self.visible_targets(now)
        drawn = self._targets.lines(shown, width, lines - 2 * len(gap), is_stale=bool(self._failure))
        return [*gap, *drawn, *gap]

    def _tables(self, now: Snapshot, width: int, lines: int) -> list[Text]:
        """The tables of routes and clients, in ``lines`` lines at most."""
        style = "dim" if self._failure else ""
        gap = [Text()] if lines >= _LOW else []
        routes, clients = self.visible_routes(now), now.clients if lines >= _LOW else []
        overhead = (1 + 2 * len(gap)) + (1 + len(gap)) * bool(clients)
        most_routes, most_clients = share(lines - overhead, len(routes), len(clients))
        drawn = []
        speaks_http = any(route["requests"] is not None for route in now.routes)
        numbers = _HTTP_NUMBERS if speaks_http else _NUMBERS
        if now.routes and lines > 0:
            columns = self._route_columns(len(routes), most_routes, numbers)
            drawn += [*gap, *table(columns, routes[:most_routes], width, style), *gap]
        if most_clients:
            drawn += [*table(_client_columns(numbers), clients[:most_clients], width, style), *gap]
        return drawn or gap

    def _route_columns(self, count: int, shown: int, numbers: Sequence[Column]) -> list[Column]:
        """The columns, with a mark at the one that sorts and the number of routes above their names."""
        routes = f"{count} route{'s' * (count != 1)}"
        heading = f"{shown} of {routes}" if shown < count else routes
        columns = [Column(heading, lambda row: row["name"], is_text=True), *numbers]
        return marked(columns, self._sort, heading, self._sort == "name", self._reversed)

    def _help_line(self, width: int) -> Text:
        if self._typing is not None:
            return Text(
                cut_end(f"filter: {self._typing}_   (Enter: keep, Esc: none)", width), style="reverse"
            )
        keys, other = (TARGET_SORTS, "g routes") if self.shows_targets else (SORTS, "g targets")
        sorts = "  ".join(f"{key} {column}" for key, column in keys.items())
        only = f" [{printable(self._filter)}]" if self._filter else ""
        line = f"{sorts}   r reverse  / filter{only}  {other}  q quit"
        if len(line) > width:
            line = f"q quit  {other}  / filter{only}  sort: {' '.join(keys)}  r reverse"
        return Text(cut_end(line, width), style="dim")


def _troubles(now: Snapshot, width: int) -> Iterator[Text]:
    """Refusals, zombies and clean-up, as far as there are any."""
    most = sorted(now.rejected.items(), key=lambda each: -each[1])
    parts = (
        [f"refused: {', '.join(f'{count} {printable(reason)}' for reason, count in most[:4])}"]
        if most
        else []
    )
    if any(now.zombies.values()):
        parts.append(f"zombies: {', '.join(f'{count} {kind}' for kind, count in now.zombies.items())}")
    if now.cleanup["queued"]:
        parts.append(f"waiting for clean-up: {now.cleanup['queued']}")
    yield from flow(parts, width)


def _seconds(age: float) -> str:
    """An age for the screen: ``12 s``, ``3 min``, ``2 h``."""
    for unit, seconds in (("h", 3600), ("min", 60)):
        if age >= 2 * seconds:
            return f"{age // seconds:.0f} {unit}"
    return f"{age:.0f} s"
