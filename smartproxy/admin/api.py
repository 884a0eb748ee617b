"""The endpoints: what ``/metrics``, the health checks and ``/api/v1`` answer, and what they do.

Every list is an object with the list under its own name, so that a later key breaks no reader. Nothing here
waits but a change of configuration; an invalid one comes back as 422 with all of its problems, one line
each, exactly as ``smartproxy check`` prints them.
"""

from __future__ import annotations

import json
import re
from itertools import islice
from math import isfinite
from typing import TYPE_CHECKING, Any

from twisted.internet.task import deferLater

from smartproxy.admin import views
from smartproxy.admin.request import Reply, json_reply, refusal
from smartproxy.errors import ConfigurationError
from smartproxy.metrics import totals
from smartproxy.metrics.counters import RouteCounters
from smartproxy.metrics.prometheus import exposition
from smartproxy.model.address import normalised

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from smartproxy.admin.control import IProxyControl
    from smartproxy.admin.request import AdminRequest
    from smartproxy.admin.router import Methods
    from smartproxy.model.record import ConnectionRecord
    from smartproxy.model.timestamps import Moment

DEFAULT_LIMIT = 1000
#: A larger ``limit`` counts as this one: an answer of 10,000 connections keeps the proxy busy for 0.1 s.
MOST_AT_ONCE = 10_000
#: Bytes of a scrape that are written before others may run: two or three milliseconds.
_IN_A_ROW = 256 * 1024
#: Seconds of ``throughput/history`` where nobody asks for another number.
DEFAULT_HISTORY = 3600.0


class Api:
    """The endpoints over one proxy.

    :param moment: both clocks at once, asked at every look at live connections.
    :param clock: to let others run.
    """

    def __init__(self, control: IProxyControl, moment: Callable[[], Moment], clock: IReactorTime) -> None:
        self._control = control
        self._moment = moment
        self._clock = clock

    def table(self) -> dict[str, Methods]:
        """Every path, for the router."""
        return {
            "/metrics": {"GET": self.prometheus},
            "/healthz": {"GET": self.healthy},
            "/readyz": {"GET": self.ready},
            "/api/v1/status": {"GET": self.status},
            "/api/v1/routes": {"GET": self.routes, "PUT": self.replace_routes},
            "/api/v1/connections": {"GET": self.connections},
            "/api/v1/connections/*": {"DELETE": self.end_connection},
            "/api/v1/certificates": {"GET": self.certificates},
            "/api/v1/metrics": {"GET": self.metrics},
            "/api/v1/throughput": {"GET": self.throughput},
            "/api/v1/throughput/history": {"GET": self.history},
            "/api/v1/reload": {"POST": self.reload},
            "/api/v1/drain": {"POST": self.drain},
        }

    async def prometheus(self, asked: AdminRequest) -> Reply:
        """All counters, as text or OpenMetrics. Connections move on while a long page is written."""
        accept = ",".join(asked.headers.getRawHeaders("Accept") or [])
        page, content_type = exposition(self._control.registry, self._control.counters, accept)
        body: list[bytes] = []
        written = 0
        for piece in page:
            body.append(piece)
            written += len(piece)
            if written > _IN_A_ROW:
                written = 0
                await deferLater(self._clock, 0)
        return Reply(200, b"".join(body), content_type)

    def healthy(self, _asked: AdminRequest) -> Reply:
        """200 while the process runs: whoever gets this answer has the proof."""
        return json_reply({"status": "ok"})

    def ready(self, _asked: AdminRequest) -> Reply:
        """200 while connections are accepted, 503 while they are not."""
        if self._control.draining:
            return json_reply({"status": "draining"}, 503)
        return json_reply({"status": "ready"})

    def status(self, _asked: AdminRequest) -> Reply:
        """What the service says of itself."""
        return json_reply(self._control.status())

    def routes(self, _asked: AdminRequest) -> Reply:
        """The routes in force, in the order of the configuration, with what they have carried."""
        counters = self._control.counters
        moved = totals.by_route(self._control.registry, counters)
        shown = [
            views.route(
                plan, counters.routes.get(plan.name) or RouteCounters(), moved.get(plan.name, totals.NO_BYTES)
            )
            for plan in self._control.plan.routes
        ]
        return json_reply({"routes": shown})

    def connections(self, asked: AdminRequest) -> Reply:
        """Live connections, oldest first; ``total`` counts those beyond the limit, too."""
        try:
            matching = list(self._matching(asked.query))
            limit = int(asked.query.get("limit", DEFAULT_LIMIT))
        except ValueError:
            return refusal(400, "limit must be a number, and clientIp an IP address")
        if limit < 0:
            return refusal(400, "limit must be 0 or more")
        moment = self._moment()
        shown = [views.connection(record, moment) for record in islice(matching, min(limit, MOST_AT_ONCE))]
        return json_reply({"connections": shown, "total": len(matching)})

    def _matching(self, query: dict[str, str]) -> Iterator[ConnectionRecord]:
        route = query.get("route")
        client = normalised(query["clientIp"]) if "clientIp" in query else None
        for record in self._control.registry.live.values():
            if route in {None, record.route} and client in {None, record.client.host}:
                yield record

    def certificates(self, _asked: AdminRequest) -> Reply:
        """The certificates that clients are shown, those first that expire first."""
        return json_reply({"certificates": [views.certificate(one) for one in self._control.certificates()]})

    def end_connection(self, asked: AdminRequest) -> Reply:
        """End one connection; 404 where there is none of that number."""
        number = _number(asked.item)
        if number is None or not self._control.end_connection(number):
            return refusal(404, "there is no such connection")
        return json_reply({"ended": number})

    def metrics(self, _asked: AdminRequest) -> Reply:
        """The numbers of the process."""
        return json_reply(views.metrics(self._control.metrics, self._control.counters))

    def throughput(self, asked: AdminRequest) -> Reply:
        """Bytes per second: of the last second, ten and sixty, or of a ``window`` of any length."""
        measured = self._control.metrics.throughput
        if "window" not in asked.query:
            named = {"instant": measured.instant, "recent": measured.recent, "average": measured.average}
            return json_reply({name: views.rate(read()) for name, read in named.items()})
        try:
            window = _seconds(asked.query["window"])
        except ValueError:
            return refusal(400, "window must be a number of seconds")
        return json_reply({"window": window, **views.rate(measured.custom(window))})

    def history(self, asked: AdminRequest) -> Reply:
        """Bytes per second in each of the last samples, oldest first."""
        try:
            seconds = _seconds(asked.query.get("seconds", str(DEFAULT_HISTORY)))
        except ValueError:
            return refusal(400, "seconds must be a number")
        samples = self._control.metrics.throughput.history(seconds)
        return json_reply({"seconds": seconds, "samples": views.history(samples, self._moment())})

    def drain(self, _asked: AdminRequest) -> Reply:
        """Stop accepting. The answer does not wait for the last connection to end."""
        self._control.drain()
        return json_reply({"status": "draining"}, 202)

    async def reload(self, _asked: AdminRequest) -> Reply:
        """Read the configuration again; the answer comes when it is in force."""
        return await self._applied(self._control.reload)

    async def replace_routes(self, asked: AdminRequest) -> Reply:
        """Put other routes in force: a list of them, or an object with that list under ``routes``."""
        try:
            routes = _routes_in(asked.body)
        except (ValueError, RecursionError):
            return refusal(400, "the body must be JSON: a list of routes")
        return await self._applied(lambda: self._control.replace_routes(routes))

    async def _applied(self, change: Callable[[], Deferred[None]]) -> Reply:
        try:
            await change()
        except ConfigurationError as invalid:
            return refusal(422, "the configuration is not valid", problems=invalid.problems)
        return json_reply({"status": "ok", "routes": len(self._control.plan.routes)})


def _seconds(written: str) -> float:
    """:raises ValueError: for what is not a number above 0."""
    seconds = float(written)
    if not isfinite(seconds) or seconds <= 0:
        raise ValueError(written)
    return seconds


def _number(item: str) -> int | None:
    """The number of a connection, spelt as we spell it: ``int`` would take more than that."""
    return int(item) if re.fullmatch("[1-9][0-9]{0,18}", item) else None


def _routes_in(body: bytes) -> list[dict[str, object]]:
    """:raises ValueError: for anything but a list of objects. :raises RecursionError: for a deep one."""
    given: Any = json.loads(body)
    routes = given.get("routes") if isinstance(given, dict) else given
    if not isinstance(routes, list) or not all(isinstance(route, dict) for route in routes):
        raise ValueError("not a list of routes")
    return routes
