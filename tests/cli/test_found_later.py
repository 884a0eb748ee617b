"""What ``explain`` and the API say about targets that are only known while the proxy runs."""

from __future__ import annotations

from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.admin.route_view import route
from smartproxy.cli.found_later import found_later
from smartproxy.metrics.counters import RouteCounters
from smartproxy.metrics.totals import Bytes
from smartproxy.settings import Settings


class FoundLaterTests(SynchronousTestCase):
    def setUp(self) -> None:
        settings = Settings.parse(
            "routes: [{name: pg, match: {ports: 5432}, action: {targets: [{srv: _pg._tcp.test}, {host: [a.test, b.test], "
            "port: 1, addresses: all}, {host: c.test, port: preserve, addresses: all}, {host: d.test, port: 2}]}}]",
            "yaml",
        )
        (self.route,) = settings.compile().routes

    def test_explain_names_what_is_asked_for(self) -> None:
        assert self.route.group is not None
        self.assertEqual(
            list(found_later(self.route.group)),
            [
                "every answer of the SRV records of _pg._tcp.test, found while the proxy runs",
                "every address of a.test and b.test, port 1, found while the proxy runs",
                "every address of c.test, port preserve, found while the proxy runs",
            ],
        )

    def test_routes_of_the_api_name_what_is_asked_for(self) -> None:
        action = cast("dict[str, Any]", route(self.route, RouteCounters(), Bytes(0, 0))["action"])
        places = [
            {key: one.get(key) for key in ("srv", "host", "port", "addresses")} for one in action["targets"]
        ]
        self.assertEqual(
            [[value for value in place.values() if value is not None] for place in places],
            [
                ["_pg._tcp.test"],
                [["a.test", "b.test"], 1, "all"],
                [["c.test"], "preserve", "all"],
                [["d.test"], 2, "first"],
            ],
        )
