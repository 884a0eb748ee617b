"""The verdicts of a soak: what must be true of the proxy's counters, memory, descriptors and log at its end."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from benchmarks.soak.ledger import Ledger
from benchmarks.soak.talk import CLEAN, RUDE, WEB

#: Bytes that the process may grow by after the warm-up: its statistics, and memory that the allocator keeps.
RSS_BOUND = 15 << 20
#: Descriptors of the 32 idle pipes that a proxy keeps.
_SPARE_PIPE_ENDS = 64
#: Routes whose series are those of the whole run. A reload removes the spare one, and its series with it.
_COUNTED = tuple(route for route in (*CLEAN, RUDE) if route != "spare")
_FAULTS = re.compile(r"Traceback|Exception ignored|\w+Warning\b|[Uu]nhandled")


class End(NamedTuple):
    """What there is to judge.

    :ivar backends: their counters by route.
    :ivar series: the proxy's, by metric and route.
    :ivar shown: its ``/api/v1/metrics``.
    :ivar live: connections that are left.
    :ivar warm: size after the warm-up.
    :ivar size: size at the end.
    :ivar workers: processes of the proxy; several were killed and replaced.
    :ivar decreases: how often a total was lower than before.
    :ivar log: of the proxy.
    """

    ledger: Ledger
    backends: dict[str, dict[str, int]]
    series: dict[str, dict[str, int]]
    shown: dict[str, Any]
    live: list[Any]
    warm: dict[str, int]
    size: dict[str, int]
    failed_reloads: int
    serves_last_certificate: bool
    workers: int
    decreases: int
    exit_code: int | None
    log: str


def verdicts(end: End) -> dict[str, bool]:
    """The verdicts by what they say."""
    return {
        "clean conversations end as they must": not end.ledger.failed,
        "content is what was sent": not any(book["corrupt"] for book in end.backends.values()),
        "no total decreases": not end.decreases,
        **(_accounts(end) if end.workers == 1 else {}),
        **_rest(end),
        "no fault of ours": not faults(end.log) and (end.workers > 1 or not end.shown["closed"]["error"]),
        "no reload failed": not end.failed_reloads,
        "the last certificates are served": end.serves_last_certificate,
        "it stops with 0": end.exit_code == 0,
    }


def faults(log: str) -> list[str]:
    """Lines of a log that tell of a fault: tracebacks and Python's warnings."""
    return [line for line in log.splitlines() if _FAULTS.search(line)]


def _rest(end: End) -> dict[str, bool]:
    """What must be left: nothing."""
    return {
        "no connection is left": not end.live and not any(end.series["connections_active"].values()),
        "no client is left": not end.shown["connections"]["byIP"],
        "the cleanup queue is empty": not end.shown["cleanup"]["queued"],
        "no connection is found that nobody ended": not end.shown["zombies"]["full"],
        "descriptors not above the warm-up": end.size["otherDescriptors"] <= end.warm["otherDescriptors"],
        "no more pipes than are kept": end.size["pipeEnds"] <= _SPARE_PIPE_ENDS * end.workers,
        "memory as after the warm-up": end.size["rssBytes"] - end.warm["rssBytes"] <= RSS_BOUND * end.workers,
    }


def _accounts(end: End) -> dict[str, bool]:
    """What is counted exactly."""
    spare, totals = end.ledger.moved["spare"], end.shown["totals"]
    series = (_without_spare(end.series["received_bytes"]), _without_spare(end.series["sent_bytes"]))
    of_spare = end.backends["spare"]
    return {
        "clean routes: connections add up": all(
            end.ledger.opened[route] == end.series["connections"][route]
            for route in _COUNTED
            if route != RUDE
        ),
        "clean routes: bytes add up": all(_bytes_agree(end, route) for route in _COUNTED),
        "HTTP: bytes and connections add up by route": all(_http_agrees(end, route) for route in WEB),
        "a route that comes and goes: bytes add up": (spare["sent"], spare["received"])
        == (of_spare["received"], of_spare["sent"]),
        "totals are the sums over routes": (totals["bytesReceived"], totals["bytesSent"])
        == (series[0] + spare["sent"], series[1] + spare["received"]),
        "refusals are counted by reason": all(
            _refusals_agree(reason, count, end.shown["rejected"][reason])
            for reason, count in end.ledger.refused.items()
        ),
    }


def _http_agrees(end: End, route: str) -> bool:
    """Whether the counters of clients and proxy agree. A connection counts for its first request's route, a byte for its own."""
    moved, series = end.ledger.moved[route], end.series
    return (moved["sent"], moved["received"], end.ledger.opened[route]) == (
        series["received_bytes"].get(route, 0),
        series["sent_bytes"].get(route, 0),
        series["connections"].get(route, 0),
    )


def _refusals_agree(reason: str, provoked: int, counted: int) -> bool:
    """A backend of the faulty route may reset before the proxy sees that it is connected: refused, too."""
    return counted >= provoked if reason == "upstream_refused" else counted == provoked


def _without_spare(values: dict[str, int]) -> int:
    return sum(value for route, value in values.items() if route != "spare")


def _bytes_agree(end: End, route: str) -> bool:
    """Whether the counters of clients, proxy and backends agree."""
    clients, backends = end.ledger.moved[route], end.backends[route]
    up = {clients["sent"], end.series["received_bytes"][route], backends["received"]}
    down = {clients["received"], end.series["sent_bytes"][route], backends["sent"]}
    return len(up) == len(down) == 1
