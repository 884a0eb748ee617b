"""What ``smartproxy top`` shows: the numbers of one look, how they are sorted and filtered, and the picture of it.

A :class:`Board` knows no terminal, no clock and no HTTP: it is given answers of the admin API and keys, and gives
something that rich can print.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from smartproxy.cli.admin_client import printable

#: The key that sorts by a column, and the column.
SORTS = {"n": "name", "a": "active", "t": "total", "i": "in", "o": "out"}
#: Clients that are named, and lines of the picture that are not routes when they are.
_CLIENTS = 5
_OTHER_LINES = _CLIENTS + 14
_ENTER, _ESCAPE, _ERASE = "\r\n", "\x1b", "\x7f\b"


class Look(NamedTuple):
    """One look at a proxy, as ``--json`` prints it and the board shows it."""

    state: str
    connections: dict[str, int]
    throughput: dict[str, dict[str, float]]
    zombies: dict[str, int]
    rejected: dict[str, int]
    cleanup: dict[str, int]
    routes: list[dict[str, Any]]
    clients: list[dict[str, Any]]


def look(status: dict[str, Any], metrics: dict[str, Any], routes: dict[str, Any]) -> Look:
    """From what the admin API says of its ``status``, ``metrics`` and ``routes``.

    A route that has been removed is shown for as long as it has connections.
    """
    active, rates = metrics["connections"]["byRoute"], metrics["throughput"]["byRoute"]
    known = {route["name"]: route["connections"]["total"] for route in routes["routes"]}
    return Look(
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


def _rate(rates: dict[str, dict[str, float]], key: str) -> dict[str, float]:
    return rates.get(key, {"in": 0.0, "out": 0.0})


class Board:
    """What is shown, and what keys do to it.

    :param sort: a column of :data:`SORTS`. :param only: what the names of the routes shown have in them.
    :ivar done: whether somebody has had enough.
    """

    def __init__(self, sort: str = "active", only: str = "") -> None:
        self._sort = sort
        self._backwards = False
        self._only = only
        self._typing: str | None = None
        self._seen: Look | None = None
        self._missing = ""
        self.done = False

    def seen(self, now: Look) -> None:
        """The proxy has answered."""
        self._seen, self._missing = now, ""

    def missed(self, why: str) -> None:
        """It has not. What was seen last stays."""
        self._missing = why

    def pressed(self, key: str) -> None:
        """A key: one character."""
        if self._typing is not None:
            self._typed(self._typing, key)
        elif key == "q":
            self.done = True
        elif key == "r":
            self._backwards = not self._backwards
        elif key == "/":
            self._typing = ""
        elif key in SORTS:
            self._sort, self._backwards = SORTS[key], False

    def _typed(self, so_far: str, key: str) -> None:
        """A key while what to filter by is typed: it takes effect at once."""
        if key in _ENTER:
            self._typing = None
        elif key == _ESCAPE:
            self._typing, self._only = None, ""
        else:
            so_far = so_far[:-1] if key in _ERASE else so_far + key if key.isprintable() else so_far
            self._typing = self._only = so_far

    def chosen(self, now: Look) -> list[dict[str, Any]]:
        """The routes to show: numbers from the largest, names from A."""
        routes = [route for route in now.routes if self._only.lower() in route["name"].lower()]
        routes.sort(key=lambda route: route["name"])
        if self._sort != "name":
            routes.sort(key=lambda route: -(route[self._sort] or 0))
        return routes[::-1] if self._backwards else routes

    def picture(self, height: int) -> RenderableType:
        """Something to print on so many lines."""
        if self._seen is None:
            return Text(self._missing or "asking ...")
        lines = [Text(self._missing + "; trying again", style="bold red")] if self._missing else []
        routes = self.chosen(self._seen)
        return Group(
            *lines,
            _headline(self._seen),
            _of_routes(
                routes, max(1, height - _OTHER_LINES), f"{self._sort}{' backwards' * self._backwards}"
            ),
            _troubles(self._seen),
            _of_clients(self._seen.clients[:_CLIENTS]),
            self._last_line(),
        )

    def _last_line(self) -> Text:
        if self._typing is not None:
            return Text(f"filter: {self._typing}_   (Enter: keep, Esc: none)", style="reverse")
        sorts = "  ".join(f"{key} {column}" for key, column in SORTS.items())
        only = f" [{printable(self._only)}]" if self._only else ""
        return Text(f"sort: {sorts}  r backwards   / filter{only}   q quit", style="dim")


def _headline(now: Look) -> Text:
    recent = now.throughput["recent"]
    return Text(
        f"smartproxy {printable(now.state)}: {now.connections['active']} active of {now.connections['total']}, "
        f"in {_per_second(recent['in'])}, out {_per_second(recent['out'])}",
        style="bold",
    )


def _of_routes(routes: list[dict[str, Any]], most: int, order: str) -> Table:
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


def _of_clients(clients: list[dict[str, Any]]) -> Table:
    table = Table(box=SIMPLE_HEAD)
    table.add_column("client", no_wrap=True)
    for heading in ("active", "in", "out"):
        table.add_column(heading, justify="right", no_wrap=True)
    for client in clients:
        rates = _per_second(client["in"]), _per_second(client["out"])
        table.add_row(Text(printable(client["ip"])), str(client["active"]), *rates)
    return table


def _troubles(now: Look) -> Text:
    zombies = ", ".join(f"{count} {kind}" for kind, count in now.zombies.items())
    most = sorted(now.rejected.items(), key=lambda each: -each[1])[:4]
    refused = ", ".join(f"{count} {printable(reason)}" for reason, count in most) or "none"
    return Text(f"zombies: {zombies}   refused: {refused}   to clean up: {now.cleanup['queued']}")


def _per_second(count: float) -> str:
    return f"{decimal(int(count))}/s" if count >= 1 else "-"
