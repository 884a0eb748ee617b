"""Explanations: the same answer as the table's, and a reason for each route that stood before."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.routing.explain import explain, written
from smartproxy.routing.table import RouteTable
from smartproxy.security.address_set import AddressSet
from tests.routing.made import http, raw, route, routes, tls
from tests.routing.test_table import ASKS, FACTS


def lines(table: RouteTable, facts) -> list[str]:
    return list(explain(table, facts).lines())


class ExplainTests(SynchronousTestCase):
    def test_the_route_and_what_it_asked_for(self) -> None:
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

    def test_a_route_that_asks_for_nothing_says_so(self) -> None:
        expected = ["route rest", "  on :443", "  it asks for nothing else"]
        self.assertEqual(lines(RouteTable(routes(rest={})), raw()), expected)

    def test_each_earlier_route_says_what_it_missed(self) -> None:
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
                "  it asks for nothing else",
                "not office: client address: wants 10.0.0.0/8, has 192.0.2.1",
                "not api: domain: wants api.example, has www.example",
                "not staging: header X-Env: wants staging, has none",
            ],
        )

    def test_an_earlier_route_of_several_domains_is_told_once(self) -> None:
        table = RouteTable(routes(many={"domains": ("a.example", "b.example", "*.c.example")}, rest={}))
        self.assertEqual(len(lines(table, tls("x.example"))), 4)

    def test_a_route_that_matches_less_specifically_says_so(self) -> None:
        table = RouteTable(routes(wide={"domains": ("a.example", "*.org")}, narrow={"domains": ("*.b.org",)}))
        self.assertEqual(
            lines(table, tls("x.b.org"))[-1],
            "not wide: matches too, but not by a.example, and its other domains are less specific",
        )

    def test_no_route_tells_of_all(self) -> None:
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

    def test_a_port_that_nobody_listens_on_names_those_that_are(self) -> None:
        table = RouteTable(
            [route("a", ports=(range(80, 81), range(8000, 8011))), route("b", 1, address="::1")]
        )
        self.assertEqual(
            lines(table, raw(port=9)),
            ["no route", "  nothing listens on port 9; the ports that are listened on: 80, 443, 8000-8010"],
        )
        self.assertTrue(lines(RouteTable([]), raw())[1].endswith(": none"))

    def test_an_address_that_nobody_listens_on_is_named(self) -> None:
        table = RouteTable(routes(a={"address": "::1"}))
        told = lines(table, raw(address="127.0.0.1"))[1]
        self.assertIn("nothing listens on 127.0.0.1:443;", told)

    def test_what_a_client_sent_stays_on_its_line(self) -> None:
        table = RouteTable(routes(a={"path": "/a"}))
        for line in lines(table, http("/\nroute forged\x1b")):
            self.assertTrue(line.isprintable(), line)

    @settings(max_examples=200)
    @given(st.lists(ASKS, max_size=6), FACTS)
    def test_it_names_the_route_that_the_table_finds_and_no_route_twice(self, asked, facts) -> None:
        listed = [route(f"r{index}", index, **asks) for index, asks in enumerate(asked)]
        table = RouteTable(listed)
        told = explain(table, facts)
        self.assertIs(told.route, table.find(facts))
        named = [told.route, *(passed.route for passed in told.earlier)]
        self.assertEqual(len(set(named)), len(named))


class WrittenTests(SynchronousTestCase):
    def test_runs_of_ports_become_ranges(self) -> None:
        self.assertEqual(written([1, 2, 3, 5, 7, 8]), "1-3, 5, 7-8")
        self.assertEqual(written([]), "")
