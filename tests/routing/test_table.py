"""The route table: its order, its listeners, and that its index finds what checking every route would find."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.model.facts import ApplicationProtocol
from smartproxy.model.plan import MatchPlan, TerminationPlan
from smartproxy.routing import table as table_module
from smartproxy.routing.matchers import is_heard_on, specificity
from smartproxy.routing.table import RouteTable, listener_name
from smartproxy.security.address_set import AddressSet
from tests.routing.made import http, raw, route, routes, tls


def found(table: RouteTable, facts) -> str | None:
    route = table.find(facts)
    return None if route is None else route.name


class OrderTests(SynchronousTestCase):
    def test_between_equal_routes_the_order_in_the_file_decides(self) -> None:
        self.assertEqual(found(RouteTable(routes(first={}, second={})), raw()), "first")

    def test_the_order_in_the_file_is_the_index_of_the_plan(self) -> None:
        first, second = routes(first={}, second={})
        self.assertEqual(found(RouteTable([second, first]), raw()), "first")

    def test_the_more_specific_match_wins_over_the_order(self) -> None:
        table = RouteTable(
            routes(
                rest={},
                any={"domains": ("*",)},
                wide={"domains": ("*.example.com",)},
                narrow={"domains": ("*.a.example.com",)},
                exact={"domains": ("x.a.example.com",)},
            )
        )
        for name, expected in {
            "x.a.example.com": "exact",
            "y.a.example.com": "narrow",
            "a.example.com": "wide",
            "example.com": "any",
            None: "rest",
        }.items():
            self.assertEqual(found(table, tls(name)), expected)

    def test_priority_wins_over_specificity(self) -> None:
        table = RouteTable(routes(exact={"domains": ("a.example",)}, rest={"priority": 1}))
        self.assertEqual(found(table, tls("a.example")), "rest")

    def test_a_route_is_as_specific_as_the_domain_that_matched(self) -> None:
        table = RouteTable(
            routes(both={"domains": ("a.example", "*.org")}, wild={"domains": ("*.example", "*.b.org")})
        )
        self.assertEqual(found(table, tls("a.example")), "both")
        self.assertEqual(found(table, tls("x.b.org")), "wild")
        self.assertEqual(found(table, tls("x.c.org")), "both")

    def test_the_next_route_gets_what_the_first_does_not_match(self) -> None:
        table = RouteTable(
            routes(
                rest={},
                site={"domains": ("*.example",)},
                api={"domains": ("a.example",), "path": "/api/*"},
                exact={"domains": ("a.example",), "path": "/api/v1"},
            )
        )
        self.assertEqual(found(table, http("/api/v1", host="a.example")), "exact")
        self.assertEqual(found(table, http("/api/v2", host="a.example")), "api")
        self.assertEqual(found(table, http("/", host="a.example")), "site")
        self.assertEqual(found(table, http("/", host="b.org")), "rest")

    def test_without_a_match_there_is_no_route(self) -> None:
        table = RouteTable(routes(a={"domains": ("a.example",)}, b={"protocol": "tls"}))
        self.assertIsNone(table.find(http(host="b.example")))

    def test_patterns_are_matched_in_any_spelling(self) -> None:
        table = RouteTable(routes(a={"domains": ("Bücher.EXAMPLE.",)}))
        self.assertEqual(found(table, tls("xn--bcher-kva.example")), "a")


class ListenerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.table = RouteTable(
            routes(
                everywhere={"ports": (range(80, 82),)},
                loopback={"ports": (range(81, 83),), "addresses": ("127.0.0.1",)},
                sixth={"ports": (range(82, 83),), "addresses": ("::1",), "protocol": "tls"},
            )
        )

    def test_listeners_are_unique_addresses_and_ports(self) -> None:
        expected = {("", 80), ("", 81), ("127.0.0.1", 81), ("127.0.0.1", 82), ("::1", 82)}
        self.assertEqual(self.table.listeners(), expected)
        self.assertEqual(self.table.ports, [80, 81, 82])

    def test_a_route_with_an_address_is_on_its_listener_only(self) -> None:
        self.assertEqual(found(self.table, raw(port=81, address="127.0.0.1")), "loopback")
        self.assertEqual(found(self.table, raw(port=81)), "everywhere")

    def test_a_route_without_an_address_is_on_all_of_its_port(self) -> None:
        table = RouteTable(routes(rest={}, tls={"addresses": ("::1",), "protocol": "tls"}))
        self.assertEqual(found(table, raw(address="::1")), "rest")
        self.assertEqual(found(table, tls(address="::1")), "tls")

    def test_an_unknown_listener_has_no_route(self) -> None:
        self.assertIsNone(self.table.find(raw(port=83)))
        self.assertIsNone(self.table.find(raw(port=80, address="127.0.0.1")))

    def test_first_bytes_are_needed_if_a_route_of_the_listener_does(self) -> None:
        self.assertTrue(self.table.needs_first_bytes("::1", 82))
        self.assertFalse(self.table.needs_first_bytes("127.0.0.1", 82))
        self.assertFalse(self.table.needs_first_bytes("", 80))
        self.assertFalse(self.table.needs_first_bytes("", 9))

    def test_tls_is_started_where_a_route_expects_it(self) -> None:
        http_only = route("http", 1, path="/")
        says_so = replace(route("a"), carries_tls=True)
        for together, expected in (
            ([route("a", protocol="tls")], True),
            ([route("a", domains=("a.example",)), http_only], True),
            ([replace(route("a"), tls=TerminationPlan())], True),
            ([http_only], False),
            ([route("a", protocol="tcp")], False),
            ([route("a")], False),
            ([says_so], False),  # nobody looks
            ([says_so, http_only], True),
        ):
            table = RouteTable(together)
            self.assertIs(table.starts_tls("", 443), expected, together)
            self.assertFalse(table.starts_tls("", 444))

    def test_a_client_address_needs_no_first_bytes(self) -> None:
        table = RouteTable(routes(a={"client_ip": AddressSet(["10.0.0.0/8"])}, b={}))
        self.assertFalse(table.needs_first_bytes("", 443))
        self.assertEqual(found(table, raw(client="10.0.0.1")), "a")
        self.assertEqual(found(table, raw()), "b")

    def test_an_empty_table_has_no_listeners(self) -> None:
        table = RouteTable([])
        self.assertEqual((table.listeners(), table.ports, table.find(raw())), (set(), [], None))

    def test_ports_with_the_same_routes_share_one_index(self) -> None:
        """A route on 10,000 ports must not need the memory of 10,000 tables."""
        table = RouteTable([route("range", ports=(range(1, 10_001),))])
        held = {id(table.routes_on(listener_name("", port))) for port in range(1, 10_001)}
        self.assertEqual(len(held), 1)


class RememberedTests(SynchronousTestCase):
    """The route of a request is remembered where host, path, method and protocol alone decide it."""

    def asked(self, table, *facts):
        """The routes, asked for twice."""
        first = [found(table, each) for each in facts]
        self.assertEqual([found(table, each) for each in facts], first)
        return first

    def test_each_of_these_tells_requests_apart(self) -> None:
        table = RouteTable(
            routes(
                host={"domains": ("a.example",)},
                path={"path": "/api/*"},
                method={"methods": frozenset({"POST"})},
                named={"protocol": "tls"},
                rest={},
            )
        )
        inside = tls("a.example")._replace(request=http("/", host="b.example").request)
        facts = (http("/", host="a.example"), http("/api/x"), http("/", method="POST"), http("/"), inside)
        self.assertEqual(self.asked(table, *facts), ["host", "path", "method", "rest", "host"])

    def test_what_else_decides_is_asked_each_time(self) -> None:
        of_client = {"client_ip": AddressSet(["10.0.0.0/8"])}
        of_header = {"headers": (("x-env", "test"),)}
        for asks, one in (
            (of_client, http("/", client="10.0.0.1")),
            (of_header, http("/", headers=[("X-Env", "test")])),
            ({"query": (("debug", "1"),)}, http("/?debug=1")),
        ):
            table = RouteTable(routes(special=asks | {"path": "/*"}, rest={"path": "/*"}))
            self.assertEqual(self.asked(table, one, http("/"), one), ["special", "rest", "special"], asks)

    def test_their_number_is_bounded(self) -> None:
        table = RouteTable(routes(web={"path": "/*"}))
        for number in range(3000):
            self.assertEqual(found(table, http(f"/{number}")), "web")
        self.assertEqual(found(table, http("/" + "x" * 4000)), "web")
        known = table.routes_on(":443")._known
        self.assertLessEqual(len(known), 1024)
        self.assertLess(max(len(path) for _, path, *_ in known), 1000)


class AlpnAndFallbackTests(SynchronousTestCase):
    def test_alpn_is_what_the_client_offers(self) -> None:
        table = RouteTable(routes(h2={"alpn": frozenset({"h2"})}, rest={}))
        offers = [("h2",), ("http/1.1", "h2"), ("http/1.1",), ()]
        self.assertEqual([found(table, tls("a", alpn)) for alpn in offers], ["h2", "h2", "rest", "rest"])
        self.assertEqual([found(table, raw()), found(table, http())], ["rest", "rest"])

    def test_a_fallback_takes_clients_without_sni_beside_its_domains(self) -> None:
        table = RouteTable(
            routes(own={"domains": ("a.example",)}, fallback={"domains": ("b.example",), "fallback": True})
        )
        clients = [tls("a.example"), tls("b.example"), tls("c.example"), tls(), http(), raw()]
        self.assertEqual(
            [found(table, facts) for facts in clients], ["own", "fallback", None, "fallback", None, None]
        )

    def test_a_fallback_goes_before_routes_for_any_name(self) -> None:
        """Whoever marks a route as the fallback means it for clients without SNI, wherever it is in the file."""
        table = RouteTable(routes(rest={}, tls={"protocol": "tls"}, fallback={"fallback": True}))
        self.assertEqual(
            [found(table, tls()), found(table, tls("a")), found(table, raw())], ["fallback", "tls", "rest"]
        )

    def test_a_route_on_several_addresses_is_on_each(self) -> None:
        table = RouteTable(routes(two={"addresses": ("10.0.0.1", "::1")}, every={}))
        self.assertEqual(table.listeners(), {("10.0.0.1", 443), ("::1", 443), ("", 443)})
        self.assertEqual(
            [found(table, raw(address=at)) for at in ("10.0.0.1", "::1", "")], ["two", "two", "every"]
        )


LABELS = ["a", "b", "example"]
NAMES = st.lists(st.sampled_from(LABELS), min_size=1, max_size=4).map(".".join)
PATTERNS = NAMES | NAMES.map("*.{}".format) | st.just("*")
ADDRESSES = ["", "127.0.0.1"]
PATHS = ["/", "/a", "/a/b"]
ASKS = st.fixed_dictionaries(
    {"ports": st.sampled_from([(range(443, 444),), (range(442, 445), range(443, 444))])},
    optional={
        "addresses": st.sampled_from([("",), ("127.0.0.1",), ("127.0.0.1", "::1")]),
        "alpn": st.just(frozenset({"h2", "h3"})),
        "fallback": st.booleans(),
        "domains": st.lists(PATTERNS, max_size=3).map(tuple),
        "client_ip": st.just(AddressSet(["10.0.0.0/8"])),
        "path": st.sampled_from([*PATHS, "/*", "/:x"]),
        "methods": st.just(frozenset({"GET"})),
        "headers": st.just((("X", "1"),)),
        "query": st.just((("q", "*"),)),
        "protocol": st.sampled_from(["tcp", "tls", "http"]),
        "priority": st.integers(-1, 1),
    },
)
WHERE = st.fixed_dictionaries(
    {
        "client": st.sampled_from(["10.0.0.1", "192.0.2.1"]),
        "port": st.sampled_from([442, 443, 445]),
        "address": st.sampled_from(ADDRESSES),
    }
)
FACTS = st.one_of(
    WHERE.map(lambda where: raw(**where)._replace(protocol=ApplicationProtocol.RAW)),
    st.builds(
        lambda name, alpn, where: tls(name, alpn, **where),
        st.none() | NAMES,
        st.sampled_from([(), ("h2", "http/1.1"), ("http/1.1",)]),
        WHERE,
    ),
    st.builds(
        lambda path, host, method, headers, where: http(
            path, host=host, method=method, headers=headers, **where
        ),
        st.sampled_from([*PATHS, "/a?q=1"]),
        st.none() | NAMES,
        st.sampled_from(["GET", "POST"]),
        st.sampled_from([(), (("x", "1"),)]),
        WHERE,
    ),
)


def naive(listed, facts):
    """A reference implementation: every route checked in turn, without the code that the table uses to match."""
    taken = [
        (route.priority, specificity(route.match, pattern), -route.index, route)
        for route in listed
        for pattern in met_patterns(route.match, facts)
        if asked_for_nothing_else(route.match, facts)
    ]
    heard = [
        match
        for match in taken
        if any(listener_name(one, facts.port) in heard_as(facts) for one in match[3].match.addresses)
    ]
    return max(heard, key=lambda match: match[:3], default=(None,))[-1]


def heard_as(facts) -> set[str]:
    return {facts.announced.accepted.listener, f":{facts.port}"}


def met_patterns(match, facts):
    name = facts.domain
    nameless = [""] if match.fallback and facts.hello is not None and name is None else []
    if not match.domains:
        return [None, *nameless]
    if name is None:
        return nameless
    return [p for p in match.domains if p in ("*", name) or (p[:2] == "*." and name.endswith(p[1:]))]


def asked_for_nothing_else(match, facts) -> bool:
    request = facts.request
    paths = {"/*": PATHS, "/:x": ["/a"]}
    protocol = {"raw": "tcp"}.get(facts.protocol.value, facts.protocol.value)
    return (
        any(facts.port in ports for ports in match.ports)
        and (match.client_ip is None or facts.client_ip.startswith("10."))
        and match.protocol in (None, protocol)
        and (not match.alpn or (facts.hello is not None and "h2" in facts.hello.alpn))
        and (
            match.path is None
            or (request is not None and request.path in paths.get(match.path, [match.path]))
        )
        and (not match.methods or (request is not None and request.method == "GET"))
        and (not match.headers or (request is not None and bool(request.headers)))
        and (not match.query or (request is not None and "?q=" in request.target))
    )


def is_listened_on(listed, facts) -> bool:
    return any(
        facts.port in ports and facts.announced.accepted.listener.rpartition(":")[0] in route.match.addresses
        for route in listed
        for ports in route.match.ports
    )


class ReferenceTests(SynchronousTestCase):
    @settings(max_examples=400)
    @given(st.lists(ASKS, max_size=8), FACTS)
    def test_the_index_finds_what_checking_every_route_finds(self, asked, facts) -> None:
        """The index makes a look-up fast, and must not change its result."""
        listed = [route(f"r{index}", index, **asks) for index, asks in enumerate(asked)]
        expected = naive(listed, facts) if is_listened_on(listed, facts) else None
        self.assertIs(RouteTable(listed).find(facts), expected)


class SpansTests(SynchronousTestCase):
    """Ranges of ports are cut where others begin and end."""

    def test_each_port_has_the_routes_whose_ranges_contain_it(self) -> None:
        ranges = {
            "wide": (range(8000, 8010),),
            "inner": (range(8003, 8005), range(8004, 8006)),
            "after": (range(8009, 8012),),
            "apart": (range(80, 81),),
        }
        table = RouteTable(
            routes(**{name: {"ports": ports, "domains": (name,)} for name, ports in ranges.items()})
        )
        self.assertEqual(table.listeners(), {("", port) for port in (80, *range(8000, 8012))})
        for address, port in table.listeners():
            on_port = table.routes_on(listener_name(address, port))
            assert on_port is not None
            expected = {name for name, ports in ranges.items() if any(port in each for each in ports)}
            self.assertEqual({entry.route.name for entry in on_port.entries}, expected)

    def test_routes_on_the_same_ports_are_looked_at_once(self) -> None:
        """A thousand routes on ten thousand ports would be ten million looks, at every reload."""
        looks: list[str] = []

        def counted(match: MatchPlan, address: str) -> bool:
            looks.append(address)
            return is_heard_on(match, address)

        self.patch(table_module, "is_heard_on", counted)
        names = {f"r{n}": {"ports": (range(8000, 9000),), "domains": (f"{n}.example",)} for n in range(5)}
        self.assertEqual(len(RouteTable(routes(**names)).listeners()), 1000)
        self.assertEqual(len(looks), 5)
