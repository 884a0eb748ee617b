"""Explanations: the same route as the table's, and a reason for each route before it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.routing.explain import explain, format_ports
from smartproxy.routing.table import RouteTable
from smartproxy.security.address_set import AddressSet
from tests.routing.made import http, raw, route, routes, tls
from tests.routing.test_table import ASKS, FACTS


def lines(table: RouteTable, facts) -> list[str]:
    return list(explain(table, facts).lines())


class ExplainTests(SynchronousTestCase):
    def test_the_route_is_listed_with_its_conditions(self) -> None:
        table = RouteTable(routes(web={"domains": ("*.example",), "path": "/api/*"}))
        self.assertEqual(
            lines(table, http("/api/x", host="www.example")),
            [
                "route web",
                "  on :443",
                "  domain: wants *.example, has www.example",
                "  path: wants /api/*, has /api/x",
            ],
        )

    def test_a_route_without_conditions_says_so(self) -> None:
        expected = ["route rest", "  on :443", "  it has no other conditions"]
        self.assertEqual(lines(RouteTable(routes(rest={})), raw()), expected)

    def test_each_earlier_route_says_which_condition_failed(self) -> None:
        table = RouteTable(
            routes(
                rest={},
                api={"domains": ("api.example",)},
                office={"client_ip": AddressSet(["10.0.0.0/8"]), "priority": 5},
                staging={"headers": (("X-Env", "staging"),)},
                after={},
            )
        )
        self.assertEqual(
            lines(table, tls("www.example")),
            [
                "route rest",
                "  on :443",
                "  it has no other conditions",
                "not office: client address: wants 10.0.0.0/8, has 192.0.2.1",
                "not api: domain: wants api.example, has www.example",
                "not staging: header X-Env: wants staging, has none",
            ],
        )

    def test_an_earlier_route_with_several_domains_is_listed_once(self) -> None:
        table = RouteTable(routes(many={"domains": ("a.example", "b.example", "*.c.example")}, rest={}))
        self.assertEqual(len(lines(table, tls("x.example"))), 4)

    def test_a_route_that_matches_less_specifically_says_so(self) -> None:
        table = RouteTable(routes(wide={"domains": ("a.example", "*.org")}, narrow={"domains": ("*.b.org",)}))
        self.assertEqual(
            lines(table, tls("x.b.org"))[-1],
            "not wide: also matches, but not by a.example, and its other domains are less specific",
        )

    def test_without_a_match_all_routes_are_listed(self) -> None:
        table = RouteTable(routes(a={"domains": ("a.example",)}, b={"protocol": "http"}))
        self.assertEqual(
            lines(table, tls(None)),
            [
                "no route",
                "  no route on :443 matches",
                "not a: domain: wants a.example, has none",
                "not b: protocol: wants http, has tls",
            ],
        )

    def test_an_unused_port_is_answered_with_the_listening_ones(self) -> None:
        table = RouteTable(
            [route("a", ports=(range(80, 81), range(8000, 8011))), route("b", 1, addresses=("::1",))]
        )
        self.assertEqual(
            lines(table, raw(port=9)),
            ["no route", "  no listener on port 9; the listening ports are: 80, 443, 8000-8010"],
        )
        self.assertTrue(lines(RouteTable([]), raw())[1].endswith(": none"))

    def test_an_address_without_a_listener_is_named(self) -> None:
        table = RouteTable(routes(a={"addresses": ("::1",)}))
        told = lines(table, raw(address="127.0.0.1"))[1]
        self.assertIn("no listener on 127.0.0.1:443;", told)

    def test_text_of_a_client_stays_on_its_line(self) -> None:
        """Otherwise a client could forge lines of the explanation, or control the terminal."""
        table = RouteTable(routes(a={"path": "/a"}))
        for line in lines(table, http("/\nroute forged\x1b")):
            self.assertTrue(line.isprintable(), line)

    @settings(max_examples=200)
    @given(st.lists(ASKS, max_size=6), FACTS)
    def test_the_route_is_that_of_the_table_and_none_is_listed_twice(self, asked, facts) -> None:
        """An explanation that disagrees with the proxy is worse than none."""
        listed = [route(f"r{index}", index, **asks) for index, asks in enumerate(asked)]
        table = RouteTable(listed)
        told = explain(table, facts)
        self.assertIs(told.route, table.find(facts))
        named = [told.route, *(passed.route for passed in told.earlier)]
        self.assertEqual(len(set(named)), len(named))


class WrittenTests(SynchronousTestCase):
    def test_consecutive_ports_become_ranges(self) -> None:
        self.assertEqual(format_ports([1, 2, 3, 5, 7, 8]), "1-3, 5, 7-8")
        self.assertEqual(format_ports([]), "")
