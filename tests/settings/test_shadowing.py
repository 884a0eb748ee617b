"""Unreachable routes: those that are found, and no false alarms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.model.address import Endpoint
from smartproxy.model.facts import Accepted, Announced, ApplicationProtocol, Detected
from smartproxy.routing.table import RouteTable
from smartproxy.settings import Action, Match, Route, Settings
from smartproxy.settings.checks.chosen_target import valid_target
from smartproxy.settings.checks.shadowing import unreachable
from smartproxy.settings.compile.plans import proxy_plan
from smartproxy.settings.compile.references import References
from smartproxy.wire.http_head import RequestHead
from tests.counting import counted


def route(name: str, priority: int = 0, **match: Any) -> Route:
    return Route(
        name=name, priority=priority, match=Match(**({"ports": 80} | match)), action=Action(type="block")
    )


def found(*routes: Route) -> dict[str, tuple[str, ...]]:
    return {routes[one.place].name: one.covering for one in unreachable(enumerate(routes))}


class UnreachableTests(SynchronousTestCase):
    def test_second_of_two_equal_matches_is_unreachable(self) -> None:
        self.assertEqual(found(route("a"), route("b")), {"b": ("a",)})
        self.assertEqual(found(route("a"), route("b", priority=1)), {"a": ("b",)})

    def test_narrower_route_is_reachable_in_any_order(self) -> None:
        self.assertEqual(found(route("wide"), route("narrow", domains=["x.org"])), {})
        self.assertEqual(found(route("wide", path="/api/*"), route("narrow", path="/api/x")), {})

    def test_only_a_route_for_silent_clients_covers_one(self) -> None:
        def silent(name: str, **match: Any) -> Route:
            wanted = Match(**({"ports": 80} | match))
            return Route(name=name, fallback=True, silence="3s", match=wanted, action=Action(type="block"))

        self.assertEqual(found(route("all", 1), silent("mail", domains=["x.org"])), {})
        self.assertEqual(found(silent("a"), silent("b")), {"b": ("a",)})

    def test_wider_route_with_higher_priority_covers(self) -> None:
        for wide, narrow in [
            ({}, {"domains": ["x.org"]}),
            ({"domains": ["*.org"]}, {"domains": ["x.org", "*.x.org"]}),
            ({"domains": ["*"]}, {"domains": ["*.org"]}),
            ({"domains": ["X.org."]}, {"domains": ["x.org"]}),
            ({"path": "/api/*"}, {"path": "/api/v1/*"}),
            ({"path": "/api/:id"}, {"path": "/api/7"}),
            ({"path": "*"}, {"path": "/users/:id"}),
            ({"clientIp": ["10.0.0.0/8"]}, {"clientIp": ["10.1.0.0/16", "::ffff:10.2.0.1"]}),
            ({"clientIp": ["10.0.0.0/9", "10.128.0.0/9"]}, {"clientIp": ["10.0.0.0/8"]}),
            ({"methods": ["GET", "HEAD"]}, {"methods": ["GET"]}),
            ({"headers": {"X-A": "1"}}, {"headers": {"x-a": "1", "X-B": "2"}}),
            ({"query": {"a": "1"}}, {"query": {"a": "1", "b": "2"}}),
            ({"query": {"a": "*"}}, {"query": {"a": "1"}}),
            ({"protocol": "http"}, {"query": {"a": "1"}}),
            ({"protocol": "http"}, {"path": "/x"}),
            ({"proxyTlv": {"alpn": ["h2", "x"]}}, {"proxyTlv": {"alpn": "x", "0xE0": "1"}}),
            ({"proxyTlv": {"authority": "*.org"}}, {"proxyTlv": {"0x02": ["x.org", "*.x.org"]}}),
            ({"ports": "80-90"}, {"ports": [81, "85-86"]}),
            ({}, {"address": "10.0.0.1"}),
            ({"address": ["10.0.0.1", "::1"]}, {"address": "::1"}),
            ({"alpn": ["h2", "h3"]}, {"alpn": "h2"}),
        ]:
            self.assertEqual(
                found(route("narrow", **narrow), route("wide", 1, **wide)), {"narrow": ("wide",)}, narrow
            )

    def test_route_with_another_condition_does_not_cover(self) -> None:
        for one, other in [
            ({"domains": ["x.org"]}, {"domains": ["y.org"]}),
            ({"domains": ["*.x.org"]}, {"domains": ["x.org"]}),
            ({"domains": ["*"]}, {}),
            ({"path": "/:a/:b"}, {"path": "/*"}),
            ({"path": "/api/:id"}, {"path": "/api/*"}),
            ({"clientIp": ["10.0.0.0/8"]}, {"clientIp": ["10.0.0.0/8", "::1"]}),
            ({"clientIp": ["10.0.0.0/8"]}, {}),
            ({"methods": ["GET"]}, {}),
            ({"headers": {"X-A": "1"}}, {"headers": {"X-A": "2"}}),
            ({"query": {"a": "1"}}, {"query": {"a": "*"}}),
            ({"query": {"a": "*"}}, {"query": {"b": "1"}}),
            ({"query": {"a": "1"}}, {}),
            ({"protocol": "tls"}, {"protocol": "http"}),
            ({"ports": "80-90"}, {"ports": "90-91"}),
            ({"address": "10.0.0.1"}, {}),
            ({"address": ["10.0.0.1"]}, {"address": ["10.0.0.1", "10.0.0.2"]}),
            ({"alpn": ["h2"]}, {"alpn": ["h2", "h3"]}),
            ({"alpn": "h2"}, {}),
        ]:
            self.assertEqual(found(route("b", **other), route("a", 1, **one)), {}, other)

    def test_several_routes_cover_one_piece_by_piece(self) -> None:
        routes = [route("b", ports=[80, 443]), route("p", 1, ports=80), route("q", 1, ports=443)]
        self.assertEqual(found(*routes), {"b": ("p", "q")})
        routes = [route("b", domains=["x.org", "y.org"]), route("x", 1, domains=["x.org"])]
        self.assertEqual(found(*routes), {})
        self.assertEqual(found(*routes, route("y", 1, domains=["*.org"])), {"b": ("x", "y")})

    def test_thousands_of_routes_on_one_port_take_linear_time(self) -> None:
        kinds: list[Any] = [
            lambda i: {"domains": [f"d{i}.example.com", f"*.d{i}.example.com"]},
            lambda i: {"path": f"/app{i}/*"},
            lambda i: {"clientIp": [f"10.{i >> 8}.{i & 255}.0/24"]},
        ]
        for kind in kinds:
            work = []
            for size in (500, 2_000):
                made = Settings(routes=[route(f"r{i}", **kind(i)) for i in range(size)])
                with counted() as calls:
                    self.assertEqual(list(unreachable(enumerate(made.routes))), [])
                work.append(calls.count)
            self.assertLess(work[1], 5 * work[0])


_NAMES = ["x.org", "a.x.org", "b.a.x.org", "y.org"]
_PATHS = ["/", "/a", "/a/b", "/a/b/c", "/b"]
_MATCHES = st.fixed_dictionaries(
    {"ports": st.sampled_from([80, 81, "80-81"])},
    optional={
        "domains": st.lists(
            st.sampled_from([*_NAMES, "*", "*.org", "*.x.org", "*.a.x.org"]),
            min_size=1,
            max_size=2,
            unique=True,
        ),
        "path": st.sampled_from([*_PATHS, "*", "/*", "/a/*", "/:p", "/:p/:q", "/a/:p", "*b", "/a*"]),
        "methods": st.lists(st.sampled_from(["GET", "PUT"]), min_size=1, max_size=2, unique=True),
        "client_ip": st.sampled_from([["10.0.0.0/8"], ["10.0.0.1"], ["10.0.0.0/8", "::1"]]),
        "protocol": st.just("http"),
    },
)


def _connections() -> list[Detected]:
    made = []
    for port in (80, 81):
        for client in ("10.0.0.1", "10.9.9.9", "::1", "192.0.2.1"):
            announced = Announced(Accepted(f":{port}", port, Endpoint(client, 1), 0.0), Endpoint(client, 1))
            for host in (*_NAMES, None):
                for path in _PATHS:
                    head = RequestHead("GET", path, path, host)
                    made.append(Detected(announced, ApplicationProtocol.HTTP, request=head))
                    made.append(
                        Detected(announced, ApplicationProtocol.HTTP, request=head._replace(method="PUT"))
                    )
    return made


class AgreementWithRoutingTests(SynchronousTestCase):
    connections = _connections()

    @settings(max_examples=60)
    @given(st.lists(st.tuples(st.integers(0, 1), _MATCHES), min_size=2, max_size=4))
    def test_no_connection_is_routed_to_an_unreachable_route(self, drawn: Any) -> None:
        routes = [route(f"r{i}", priority, **match) for i, (priority, match) in enumerate(drawn)]
        called = {routes[one.place].name for one in unreachable(enumerate(routes))}
        if not called:
            return
        reachable = [one for one in routes if one.name not in called]
        self.assertNotEqual(reachable, [], "the first in the order is always reached")
        table = RouteTable(proxy_plan(Settings(routes=routes), References(Path()), valid_target).routes)
        reached = {plan.name for facts in self.connections if (plan := table.find(facts)) is not None}
        self.assertEqual(called & reached, set())
