"""The screen of ``smartproxy top``: its values, sorting and filtering, and how it is drawn.

A :class:`Board` does not depend on a terminal, a clock or HTTP. Its input is snapshots of the admin API and keys, its output
something that rich can print.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypedDict

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from smartproxy.cli.admin_client import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.cli.admin_client import JsonObject

#: The keys that sort, and the column that each sorts by.
SORTS = {"n": "name", "a": "active", "t": "total", "i": "in", "o": "out"}
#: Number of clients shown, and number of lines that are not routes.
_CLIENTS = 5
_OTHER_LINES = _CLIENTS + 14
_ENTER, _ESCAPE, _ERASE = "\r\n", "\x1b", "\x7f\b"


#: Bytes per second in each direction, and the rows of the two tables. (``in`` is a keyword, so these are not classes.)
InOutRate = TypedDict("InOutRate", {"in": float, "out": float})
RouteRow = TypedDict("RouteRow", {"name": str, "active": int, "total": int | None, "in": float, "out": float})
ClientRow = TypedDict("ClientRow", {"ip": str, "active": int, "in": float, "out": float})


#: The number of a row in each column but the name.
_SORT_NUMBERS: dict[str, Callable[[RouteRow], float]] = {
    "active": lambda row: row["active"],
    "total": lambda row: row["total"] or 0,
    "in": lambda row: row["in"],
    "out": lambda row: row["out"],
}


class Snapshot(NamedTuple):
    """The state of a proxy, as ``--json`` prints it and the board shows it."""

    state: str
    connections: dict[str, int]
    throughput: dict[str, InOutRate]
    zombies: dict[str, int]
    rejected: dict[str, int]
    cleanup: dict[str, int]
    routes: list[RouteRow]
    clients: list[ClientRow]


def snapshot(status: JsonObject, metrics: JsonObject, routes: JsonObject) -> Snapshot:
    """Create a snapshot from the replies of the admin API to ``status``, ``metrics`` and ``routes``.

    A removed route is included as long as it has connections.

    :raises KeyError: if a key is missing, as in the replies of another version; also TypeError and AttributeError.
    """
    active, rates = metrics["connections"]["byRoute"], metrics["throughput"]["byRoute"]
    known = {route["name"]: route["connections"]["total"] for route in routes["routes"]}
    return Snapshot(
        state=status.get("state", ""),
        connections={key: metrics["connections"][key] for key in ("active", "total")},
        throughput={key: metrics["throughput"][key] for key in ("instant", "recent", "average")},
        zombies=metrics["zombies"],
        rejected={reason: count for reason, count in metrics["rejected"].items() if count},
        cleanup=metrics["cleanup"],
        routes=[
            {"name": name, "active": active.get(name, 0), "total": known.get(name), **_rate(rates, name)}
            for name in {**known, **active}
        ],
        clients=[
            {
                "ip": each["ip"],
                "active": each["connections"],
                **_rate(metrics["throughput"]["byIP"], each["ip"]),
            }
            for each in metrics["connections"]["topIPs"]
        ],
    )


def _rate(rates: dict[str, InOutRate], key: str) -> InOutRate:
    return rates.get(key, {"in": 0.0, "out": 0.0})


class Board:
    """The screen and its state: order, filter, and the last snapshot.

    :param sort: a column of :data:`SORTS`.
    :param only: show only routes whose names contain this.
    :ivar has_quit: whether the user has pressed ``q``.
    """

    def __init__(self, sort: str = "active", only: str = "") -> None:
        self._sort = sort
        self._reversed = False
        self._filter = only
        self._typing: str | None = None
        self._snapshot: Snapshot | None = None
        self._failure = ""
        self.has_quit = False

    def update(self, now: Snapshot) -> None:
        """Show a new snapshot."""
        self._snapshot, self._failure = now, ""

    def fail(self, why: str) -> None:
        """Show why there is no new snapshot, above the last one."""
        self._failure = why

    def press(self, key: str) -> None:
        """Handle a key: one character."""
        if self._typing is not None:
            self._edit_filter(self._typing, key)
        elif key == "q":
            self.has_quit = True
        elif key == "r":
            self._reversed = not self._reversed
        elif key == "/":
            self._typing = ""
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

    def render(self, height: int) -> RenderableType:
        """Return the screen, for a terminal of ``height`` lines."""
        if self._snapshot is None:
            return Text(self._failure or "connecting ...")
        lines = [Text(self._failure + "; retrying", style="bold red")] if self._failure else []
        routes = self.visible_routes(self._snapshot)
        return Group(
            *lines,
            _headline(self._snapshot),
            _route_table(
                routes, max(1, height - _OTHER_LINES), f"{self._sort}{' reversed' * self._reversed}"
            ),
            _problem_line(self._snapshot),
            _client_table(self._snapshot.clients[:_CLIENTS]),
            self._help_line(),
        )

    def _help_line(self) -> Text:
        if self._typing is not None:
            return Text(f"filter: {self._typing}_   (Enter: keep, Esc: none)", style="reverse")
        sorts = "  ".join(f"{key} {column}" for key, column in SORTS.items())
        only = f" [{printable(self._filter)}]" if self._filter else ""
        return Text(f"sort: {sorts}  r reverse   / filter{only}   q quit", style="dim")


def _headline(now: Snapshot) -> Text:
    recent = now.throughput["recent"]
    return Text(
        f"smartproxy {printable(now.state)}: {now.connections['active']} active of {now.connections['total']}, "
        f"in {_per_second(recent['in'])}, out {_per_second(recent['out'])}",
        style="bold",
    )


def _route_table(routes: list[RouteRow], most: int, order: str) -> Table:
    more = f", {len(routes) - most} more" if len(routes) > most else ""
    table = Table(box=SIMPLE_HEAD, caption=f"{len(routes)} routes by {order}{more}", caption_justify="left")
    table.add_column("route", overflow="ellipsis", no_wrap=True, ratio=1)
    for heading in ("active", "total", "in", "out"):
        table.add_column(heading, justify="right", no_wrap=True)
    for route in routes[:most]:
        table.add_row(
            Text(printable(route["name"])),
            str(route["active"]),
            "-" if route["total"] is None else str(route["total"]),
            _per_second(route["in"]),
            _per_second(route["out"]),
        )
    return table


def _client_table(clients: list[ClientRow]) -> Table:
    table = Table(box=SIMPLE_HEAD)
    table.add_column("client", no_wrap=True)
    for heading in ("active", "in", "out"):
        table.add_column(heading, justify="right", no_wrap=True)
    for client in clients:
        rates = _per_second(client["in"]), _per_second(client["out"])
        table.add_row(Text(printable(client["ip"])), str(client["active"]), *rates)
    return table


def _problem_line(now: Snapshot) -> Text:
    zombies = ", ".join(f"{count} {kind}" for kind, count in now.zombies.items())
    most = sorted(now.rejected.items(), key=lambda each: -each[1])[:4]
    refused = ", ".join(f"{count} {printable(reason)}" for reason, count in most) or "none"
    return Text(f"zombies: {zombies}   refused: {refused}   waiting for clean-up: {now.cleanup['queued']}")


def _per_second(count: float) -> str:
    return f"{decimal(int(count))}/s" if count >= 1 else "-"
