"""The state of a proxy that ``smartproxy top`` shows: replies of the admin API, reduced to rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypedDict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.cli.admin_client import JsonObject

#: Bytes per second in each direction, and the rows of the two tables. (``in`` is a keyword, so these are not classes.)
#: What is not known of a route that was removed and still has connections is ``None`` or empty.
InOutRate = TypedDict("InOutRate", {"in": float, "out": float})


#: HTTP requests under way, and those that have ended; ``None`` for a route that does not speak HTTP.
class RequestNumbers(TypedDict):
    active: int
    total: int


RouteRow = TypedDict(
    "RouteRow",
    {
        "name": str, "active": int, "total": int | None, "in": float, "out": float,
        "bytesReceived": int | None, "bytesSent": int | None, "ports": list[int | str], "targets": list[str],
        "action": str | None, "requests": RequestNumbers | None,
    },
)  # fmt: skip
ClientRow = TypedDict("ClientRow", {"ip": str, "active": int, "in": float, "out": float})


class Snapshot(NamedTuple):
    """The state of a proxy, as ``--json`` prints it and the board shows it.

    :ivar targets: as the admin API has them; ``None`` where they were not asked for: a proxy may have thousands.
    """

    state: str
    connections: dict[str, int]
    throughput: dict[str, InOutRate]
    zombies: dict[str, int]
    rejected: dict[str, int]
    cleanup: dict[str, int]
    routes: list[RouteRow]
    clients: list[ClientRow]
    targets: list[JsonObject] | None


def snapshot(
    status: JsonObject, metrics: JsonObject, routes: JsonObject, targets: JsonObject | None = None
) -> Snapshot:
    """Create a snapshot from the replies of the admin API to ``status``, ``metrics`` and ``routes``.

    A removed route is included as long as it has connections.

    :param targets: the reply to ``targets``; ``None`` where they were not asked for.

    :raises KeyError: if a key is missing, as in the replies of another version; also TypeError and AttributeError.
    """
    active, rates = metrics["connections"]["byRoute"], metrics["throughput"]["byRoute"]
    known = {route["name"]: route for route in routes["routes"]}
    return Snapshot(
        state=status.get("state", ""),
        connections={key: metrics["connections"][key] for key in ("active", "total")},
        throughput={key: metrics["throughput"][key] for key in ("instant", "recent", "average")},
        zombies=metrics["zombies"],
        rejected={reason: count for reason, count in metrics["rejected"].items() if count},
        cleanup=metrics["cleanup"],
        routes=[
            _route(name, active.get(name, 0), _rate(rates, name), known.get(name))
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
        targets=None if targets is None else targets["targets"],
    )


def _route(name: str, active: int, rate: InOutRate, known: JsonObject | None) -> RouteRow:
    if known is None:
        gone: RouteRow = {
            "name": name, "active": active, "total": None, **rate,
            "bytesReceived": None, "bytesSent": None, "ports": [], "targets": [], "action": None, "requests": None,
        }  # fmt: skip
        return gone
    return {
        "name": name,
        "active": active,
        "total": known["connections"]["total"],
        **rate,
        "bytesReceived": known["bytesReceived"],
        "bytesSent": known["bytesSent"],
        "ports": known["match"]["ports"],
        "targets": list(_targets(known["action"]["targets"])),
        "action": known["action"]["type"],
        "requests": known.get("requests"),
    }


def _targets(targets: list[JsonObject]) -> Iterator[str]:
    """Each host of each target as ``HOST:PORT``, or ``unix:PATH``."""
    for target in targets:
        if "unix" in target:
            yield f"unix:{target['unix']}"
            continue
        if "srv" in target:
            yield target["srv"]
            continue
        hosts = target["host"] if isinstance(target["host"], list) else [target["host"]]
        for host in hosts:
            yield f"[{host}]:{target['port']}" if ":" in host else f"{host}:{target['port']}"


def _rate(rates: dict[str, InOutRate], key: str) -> InOutRate:
    return rates.get(key, {"in": 0.0, "out": 0.0})
