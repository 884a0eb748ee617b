"""Addresses among the domains of routes: which connections they match, beside names and fallbacks."""

from __future__ import annotations

from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.model.plan import TerminationPlan
from smartproxy.routing.table import RouteTable
from tests.routing.made import http, route, routes, tls


def found(table: RouteTable, facts) -> str | None:
    match = table.find(facts)
    return None if match is None else match.name


class AddressDomainTests(SynchronousTestCase):
    """An address among the domains: that of the listener's machine, for a TLS client that asks for no name."""

    def ended(self, name: str, index: int = 0, **asks):
        return replace(route(name, index, **asks), tls=TerminationPlan())

    def at(self, local: str | None, name: str | None = None):
        return tls(name)._replace(local=local)

    def test_local_address_chooses_among_routes_with_addresses(self) -> None:
        table = RouteTable(
            [
                self.ended("v4", domains=("192.0.2.1", "a.example")),
                self.ended("v6", 1, domains=("2001:db8::1",)),
            ]
        )
        clients = [self.at("192.0.2.1"), self.at("2001:db8::1"), self.at("192.0.2.2"), self.at(None)]
        self.assertEqual([found(table, facts) for facts in clients], ["v4", "v6", None, None])

    def test_address_is_more_specific_than_a_fallback_and_any_name(self) -> None:
        table = RouteTable(
            [
                self.ended("rest", domains=()),
                self.ended("fallback", 1, domains=("b.example",), fallback=True),
                self.ended("own", 2, domains=("192.0.2.1",)),
            ]
        )
        self.assertEqual(found(table, self.at("192.0.2.1")), "own")
        self.assertEqual(found(table, self.at("192.0.2.2")), "fallback")
        self.assertEqual(found(table, self.at(None, "c.example")), "rest")

    def test_star_and_wildcards_do_not_match_a_local_address(self) -> None:
        """They stand for names, and the client asks for none."""
        table = RouteTable(
            [
                self.ended("star", domains=("*",), priority=1),
                self.ended("wild", 1, domains=("*.0.2.1",), priority=1),
                self.ended("own", 2, domains=("192.0.2.1",)),
            ]
        )
        self.assertEqual(found(table, self.at("192.0.2.1")), "own")
        self.assertEqual(found(table, self.at("192.0.2.9")), None)

    def test_remembered_routes_are_told_apart_by_the_address(self) -> None:
        """Requests inside TLS are remembered: the same path on another address is another route."""
        table = RouteTable(
            [
                self.ended("one", domains=("192.0.2.1",), path="/a"),
                self.ended("two", 1, domains=("192.0.2.2",), path="/a"),
            ]
        )
        for _ in range(2):
            for local, name in (("192.0.2.1", "one"), ("192.0.2.2", "two")):
                facts = http("/a", host="x.example")._replace(hello=self.at(local).hello, local=local)
                self.assertEqual(found(table, facts), name)

    def test_table_knows_where_the_local_address_matters(self) -> None:
        table = RouteTable(
            [
                self.ended("own", domains=("192.0.2.1",)),
                route("plain", 1, domains=("192.0.2.1",), ports=(range(80, 81),)),
                self.ended("names", 2, domains=("a.example", "*"), ports=(range(444, 445),)),
            ]
        )
        known = {port: table.has_addresses("", port) for port in (80, 443, 444, 445)}
        self.assertEqual(known, {80: False, 443: True, 444: False, 445: False})

    def test_address_in_the_host_of_a_request_still_matches(self) -> None:
        table = RouteTable(routes(v6={"domains": ("2001:db8::1",)}, v4={"domains": ("192.0.2.1",)}))
        hosts = [http(host="2001:db8::1"), http(host="192.0.2.1"), http(host="192.0.2.9")]
        self.assertEqual([found(table, facts) for facts in hosts], ["v6", "v4", None])
