"""The endpoints: ``/metrics``, the health checks and ``/api/v1``.

A list is returned as an object with the list under a key, so that keys can be added later. An invalid configuration is 422 with all of its problems, one
line each, exactly as ``smartproxy check`` prints them; a port that cannot be had is 409, with its address.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import partial
from itertools import chain
from math import isfinite
from typing import TYPE_CHECKING

from twisted.internet.error import CannotListenError

from smartproxy.admin import route_view, views
from smartproxy.admin.certificates import CertificatesApi
from smartproxy.admin.request import Reply, json_reply, refusal
from smartproxy.admin.shared import SharedResult
from smartproxy.admin.targets import TargetsApi
from smartproxy.errors import ConfigurationError
from smartproxy.flow.slices import Slices
from smartproxy.metrics import totals
from smartproxy.metrics.counters import RouteCounters
from smartproxy.metrics.families import families
from smartproxy.metrics.process import process_families
from smartproxy.metrics.prometheus import FORMATS, exposition, negotiated
from smartproxy.net import listening
from smartproxy.wire.host import normalise_address

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from smartproxy.admin.control import IProxyControl
    from smartproxy.admin.request import AdminRequest
    from smartproxy.admin.router import Methods
    from smartproxy.model.timestamps import Moment

DEFAULT_LIMIT = 1000
#: Largest ``limit``; a larger one is reduced to it. A reply with 10,000 connections blocks the event loop for 0.1 s.
MAX_LIMIT = 10_000
#: Default seconds of ``throughput/history``.
DEFAULT_HISTORY = 3600.0


class Api:
    """The endpoints of one proxy.

    :param moment: monotonic and wall clock read together, to convert the times of samples to dates.
    :param clock: to return to the event loop during a long scrape.
    """

    def __init__(self, control: IProxyControl, moment: Callable[[], Moment], clock: IReactorTime) -> None:
        self._control = control
        self._moment = moment
        self._clock = clock
        self._pages = {
            content_type: SharedResult(partial(self._page, content_type)) for content_type in FORMATS
        }

    def table(self) -> dict[str, Methods]:
        """The table of paths for the router."""
        return {
            **TargetsApi(self._control).table(),
            **CertificatesApi(self._control).table(),
            "/metrics": {"GET": self.prometheus},
            "/healthz": {"GET": self.healthy},
            "/readyz": {"GET": self.ready},
            "/api/v1/status": {"GET": self.status},
            "/api/v1/workers": {"GET": self.workers},
            "/api/v1/routes": {"GET": self.routes, "PUT": self.replace_routes},
            "/api/v1/connections": {"GET": self.connections},
            "/api/v1/connections/*": {"DELETE": self.end_connection},
            "/api/v1/metrics": {"GET": self.metrics},
            "/api/v1/throughput": {"GET": self.throughput},
            "/api/v1/throughput/history": {"GET": self.history},
            "/api/v1/reload": {"POST": self.reload},
            "/api/v1/drain": {"POST": self.drain},
        }

    async def prometheus(self, request: AdminRequest) -> Reply:
        """All metrics, as text or OpenMetrics. A long page is written over several event loop iterations, and shared."""
        content_type = negotiated(",".join(request.headers.getRawHeaders("Accept") or []))
        return Reply(200, await self._pages[content_type].get(), content_type)

    async def _page(self, content_type: str) -> bytearray:
        reading = await self._control.reading()
        shown = chain(families(reading.registry, reading.counters), reading.more, process_families())
        page, _ = exposition(shown, content_type)
        body = bytearray()  # and not joined at the end: that takes several milliseconds for a page of 27 MB
        slices = Slices(self._clock)
        for piece in page:
            body += piece
            await slices.turn()
        return body

    def healthy(self, _request: AdminRequest) -> Reply:
        """200 while the process runs."""
        return json_reply({"status": "ok"})

    def ready(self, _request: AdminRequest) -> Reply:
        """200 while connections are accepted, 503 while the proxy drains, or before its workers serve."""
        if self._control.draining:
            return json_reply({"status": "draining"}, 503)
        if not self._control.serving:
            return json_reply({"status": "starting"}, 503)
        return json_reply({"status": "ready"})

    async def status(self, _request: AdminRequest) -> Reply:
        """Facts about the process."""
        return json_reply(await self._control.status())

    def workers(self, _request: AdminRequest) -> Reply:
        """The processes that carry connections."""
        return json_reply({"workers": list(self._control.workers())})

    async def routes(self, _request: AdminRequest) -> Reply:
        """The current routes in the order of the configuration, with their counters."""
        reading = await self._control.reading()
        counters = reading.counters
        moved = totals.by_route(reading.registry, counters)
        shown = [
            route_view.route(
                plan, counters.routes.get(plan.name) or RouteCounters(), moved.get(plan.name, totals.NO_BYTES)
            )
            for plan in self._control.plan.routes
        ]
        return json_reply({"routes": shown})

    async def connections(self, request: AdminRequest) -> Reply:
        """Live connections, oldest first; ``total`` includes those beyond the limit."""
        route, client = request.query.get("route"), request.query.get("clientIp")
        try:
            client = None if client is None else normalise_address(client)
            limit = int(request.query.get("limit", DEFAULT_LIMIT))
        except ValueError:
            return refusal(400, "limit must be a number, and clientIp an IP address")
        if limit < 0:
            return refusal(400, "limit must be 0 or more")
        live = await self._control.live(route, client, min(limit, MAX_LIMIT))
        return json_reply({"connections": live.shown, "total": live.total})

    async def end_connection(self, request: AdminRequest) -> Reply:
        """Close one connection; 404 if there is none with that number."""
        number = _number(request.items[0])
        if number is None or not await self._control.end_connection(number):
            return refusal(404, "there is no such connection")
        return json_reply({"ended": number})

    async def metrics(self, _request: AdminRequest) -> Reply:
        """The metrics as JSON."""
        reading = await self._control.reading()
        return json_reply(views.metrics(reading.metrics, reading.counters))

    def throughput(self, request: AdminRequest) -> Reply:
        """Bytes per second: of the last 1, 10 and 60 seconds, or of a ``window`` in seconds."""
        measured = self._control.throughput
        if "window" not in request.query:
            named = {"instant": measured.instant, "recent": measured.recent, "average": measured.average}
            return json_reply({name: views.rate(read()) for name, read in named.items()})
        try:
            window = _seconds(request.query["window"])
        except ValueError:
            return refusal(400, "window must be a number of seconds")
        return json_reply({"window": window, **views.rate(measured.custom(window))})

    def history(self, request: AdminRequest) -> Reply:
        """Bytes per second of each sample in the last ``seconds``, oldest first."""
        try:
            seconds = _seconds(request.query.get("seconds", str(DEFAULT_HISTORY)))
        except ValueError:
            return refusal(400, "seconds must be a number")
        samples = self._control.throughput.history(seconds)
        return json_reply({"seconds": seconds, "samples": views.history(samples, self._moment())})

    def drain(self, _request: AdminRequest) -> Reply:
        """Stop accepting connections. The reply does not wait for the live ones to close."""
        self._control.drain()
        return json_reply({"status": "draining"}, 202)

    async def reload(self, _request: AdminRequest) -> Reply:
        """Reload the configuration; the reply is sent when it is in force."""
        return await self._applied(self._control.reload)

    async def replace_routes(self, request: AdminRequest) -> Reply:
        """Replace all routes. The body is a list of routes, or an object with that list under ``routes``."""
        try:
            routes = _routes_in(request.body)
        except ConfigurationError as invalid:
            return _invalid(invalid)
        except (ValueError, RecursionError):
            return refusal(400, "the body must be JSON: a list of routes")
        return await self._applied(lambda: self._control.replace_routes(routes))

    async def _applied(self, change: Callable[[], Deferred[None]]) -> Reply:
        try:
            await change()
        except ConfigurationError as invalid:
            return _invalid(invalid)
        except CannotListenError as unbound:
            return refusal(409, listening.reason(unbound))
        waiting = list(self._control.waiting_for_restart())
        return json_reply(
            {"status": "ok", "routes": len(self._control.plan.routes), "waitingForRestart": waiting}
        )


def _invalid(configuration: ConfigurationError) -> Reply:
    return refusal(422, "the configuration is not valid", problems=configuration.problems)


def _seconds(written: str) -> float:
    """Parse a number of seconds.

    :raises ValueError: if it is not a finite number above 0.
    """
    seconds = float(written)
    if not isfinite(seconds) or seconds <= 0:
        raise ValueError(written)
    return seconds


def _number(item: str) -> int | None:
    """Parse the number of a connection; ``None`` if it is not spelt exactly as in replies (``int`` accepts more)."""
    return int(item) if re.fullmatch("[1-9][0-9]{0,18}", item) else None


def _routes_in(body: bytes) -> list[dict[str, object]]:
    """Parse the body of ``PUT routes``.

    :raises ValueError: if it is not a list of objects.
    :raises RecursionError: if it is nested too deeply.
    :raises ConfigurationError: if there is more beside the list, or a key twice.
    """
    given: object = json.loads(body, object_pairs_hook=_unique)
    whole = given if isinstance(given, dict) else {"routes": given}
    routes = whole.get("routes")
    if not isinstance(routes, list) or not all(isinstance(route, dict) for route in routes):
        raise ValueError("not a list of routes")
    others = [key for key in whole if key != "routes" and not key.startswith("x-")]
    if others:
        raise ConfigurationError([f"{key}: unknown key; only the routes are replaced" for key in others])
    return routes


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object of JSON, as it is read of a file: Python would drop the first of two values of a key.

    :raises ConfigurationError: if a key is there twice.
    """
    made = dict(pairs)
    if len(made) < len(pairs):
        twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
        raise ConfigurationError([f'duplicate key "{key}"' for key in twice])
    return made
