"""Divides what an HTTP connection moves among its routes: see :mod:`smartproxy.model.record`.

A route that has a share is *unsettled* until the connection is cleaned up, as that of the record is: its series do not end before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.metrics.counters import UNROUTED
from smartproxy.model.record import RouteShare, RouteShares

if TYPE_CHECKING:
    from smartproxy.metrics.counters import Counters
    from smartproxy.metrics.source import MeterSource
    from smartproxy.model.record import ConnectionRecord


def share_of(
    record: ConnectionRecord, route: str, counters: Counters, meters: MeterSource | None
) -> RouteShare:
    """The share of ``record`` for another route than its own; it is created on first use."""
    shares = record.shares
    if shares is None:
        shares = record.shares = RouteShares(record.route or UNROUTED)
    share = shares.of.get(route)
    if share is None:
        share = shares.of[route] = RouteShare(record, ())
        counters.route(route).unsettled += 1
        if meters is not None:
            share.meters = meters.of_route(meters.of_client(record.client.host), route)
    return share


def count_rest_for(
    record: ConnectionRecord, route: str, counters: Counters, meters: MeterSource | None
) -> None:
    """Count for ``route`` what ``record`` itself counts from now on: the connection is a tunnel of that route."""
    shares = record.shares
    if (record.route if shares is None else shares.rest) == route:
        return
    if shares is None:
        shares = record.shares = RouteShares(record.route or UNROUTED)
    *_, (before, received, sent) = shares.divide(record)
    of_rest = share_of(record, before, counters, meters)
    of_rest.received, of_rest.sent = received, sent
    record.meters = share_of(record, route, counters, meters).meters
    shares.rest = route


def assign_meters(record: ConnectionRecord, meters: MeterSource | None) -> None:
    """Give ``record`` and its shares the meters that ``meters`` selects; ``None`` takes them away."""
    shares = record.shares
    of_client = meters.of_client(record.client.host) if meters is not None and record.identified else ()
    rest = record.route if shares is None else shares.rest
    record.meters = of_client if meters is None or rest is None else meters.of_route(of_client, rest)
    if shares is not None:
        for route, share in shares.of.items():
            share.meters = () if meters is None else meters.of_route(of_client, route)


def settle(record: ConnectionRecord, shares: RouteShares, counters: Counters, now: float) -> None:
    """Add the bytes of a closed connection to those of its routes.

    :param now: monotonic seconds.
    """
    for route, received, sent in shares.divide(record):
        of_route = counters.route(route)
        of_route.received += received
        of_route.sent += sent
    record.shares = None  # a share refers to its record
    for route in shares.of:
        counters.settle(route, now)
