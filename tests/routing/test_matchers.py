"""The conditions of a route: what each matches, and what it shows in an explanation."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.model.facts import ApplicationProtocol, Detected
from smartproxy.model.plan import MatchPlan, TlvMatch
from smartproxy.routing.matchers import conditions_of, is_heard_on, patterns_of, specificity
from smartproxy.security.address_set import AddressSet
from smartproxy.wire.proxy_header import ProxyHeader, Tlv
from tests.routing.made import PORTS, http, raw, tls


def meets(facts, **asks) -> bool:
    return all(condition.is_met(facts) for condition in conditions_of(MatchPlan(PORTS, **asks)))


def announced(*tlvs: Tlv) -> Detected:
    """A connection whose PROXY header has these TLVs."""
    facts = raw()
    return facts._replace(announced=facts.announced._replace(header=ProxyHeader(2, tlvs=tlvs)))


class ConditionTests(SynchronousTestCase):
    def test_a_match_without_keys_has_no_conditions(self) -> None:
        self.assertEqual(conditions_of(MatchPlan(PORTS)), ())

    def test_a_domain_is_matched_by_sni_or_host(self) -> None:
        for facts in (tls("www.example.com"), http(host="www.example.com")):
            self.assertTrue(meets(facts, domains=("example.com", "*.Example.com")))
            self.assertFalse(meets(facts, domains=("example.com",)))

    def test_a_connection_without_a_name_matches_no_domain(self) -> None:
        for facts in (raw(), tls(None), http(host=None)):
            self.assertFalse(meets(facts, domains=("*",)))

    def test_a_client_address_is_matched_by_a_set(self) -> None:
        office = AddressSet(["10.0.0.0/8"])
        self.assertTrue(meets(raw(client="10.1.2.3"), client_ip=office))
        self.assertFalse(meets(raw(client="192.0.2.1"), client_ip=office))

    def test_a_tlv_is_matched_by_one_of_its_values(self) -> None:
        facts = announced(Tlv(0xEA, b"other"), Tlv(0xEA, b"\x01vpce"), Tlv(1, b"h2"))
        self.assertTrue(meets(facts, proxy_tlv=(TlvMatch(0xEA, (b"x", b"\x01vpce")), TlvMatch(1, (b"h2",)))))
        self.assertFalse(meets(facts, proxy_tlv=(TlvMatch(0xEA, (b"vpce",)),)))
        self.assertFalse(meets(facts, proxy_tlv=(TlvMatch(1, (b"h2",)), TlvMatch(5, (b"h2",)))))
        for without in (raw(), announced()):
            self.assertFalse(meets(without, proxy_tlv=(TlvMatch(1, (b"h2",)),)))

    def test_a_tlv_that_is_a_name_is_matched_like_a_domain(self) -> None:
        wanted = (TlvMatch(2, domains=("a.example", "*.b.example")),)
        for name, met in (
            (b"a.example", True), (b"A.example.", True), (b"x.y.b.example", True), (b"b.example", False),
            (b"", False), (b"\xff", False),
        ):  # fmt: skip
            self.assertEqual(meets(announced(Tlv(2, name)), proxy_tlv=wanted), met, name)
        self.assertFalse(meets(tls("a.example"), proxy_tlv=wanted), "SNI is no TLV")

    def test_a_tlv_is_shown_escaped(self) -> None:
        (condition,) = conditions_of(MatchPlan(PORTS, proxy_tlv=(TlvMatch(0xEA, (b"a\n",)),)))
        self.assertEqual((condition.subject, condition.wanted), ("PROXY TLV 0xEA", r"a\n"))
        self.assertEqual(condition.seen(announced(Tlv(0xEA, b"\x1b[2J"))), r"\x1b[2J")
        self.assertEqual(condition.seen(raw()), "none")

    def test_path_method_and_headers_require_a_request(self) -> None:
        for facts in (raw(), tls("a.example")):
            self.assertFalse(meets(facts, path="*"))
            self.assertFalse(meets(facts, methods=frozenset({"GET"})))
            self.assertFalse(meets(facts, headers=(("X-Env", "staging"),)))

    def test_a_path_is_matched_by_its_pattern(self) -> None:
        self.assertTrue(meets(http("/api/x"), path="/api/*"))
        self.assertFalse(meets(http("/ap/x"), path="/api/*"))

    def test_a_method_is_matched_by_one_of_several(self) -> None:
        methods = frozenset({"GET", "HEAD"})
        self.assertTrue(meets(http(method="HEAD"), methods=methods))
        self.assertFalse(meets(http(method="POST"), methods=methods))
        self.assertFalse(meets(http(method="get"), methods=methods), "RFC 9110, 9.1: case-sensitive")

    def test_a_header_name_matches_in_any_case_its_value_exactly(self) -> None:
        asks = (("X-Env", "staging"),)
        self.assertTrue(meets(http(headers=[("x-env", "staging")]), headers=asks))
        self.assertTrue(meets(http(headers=[("X-ENV", "live"), ("X-ENV", "staging")]), headers=asks))
        self.assertFalse(meets(http(headers=[("X-Env", "Staging")]), headers=asks))
        self.assertFalse(meets(http(headers=[("X-Env", "staging2")]), headers=asks))

    def test_other_characters_of_a_header_are_those_of_utf_8(self) -> None:
        """That is how clients send them, and how configurations have them. The parser reads bytes as Latin-1."""
        asks = (("X-City", "Zürich"),)
        self.assertTrue(meets(http(headers=[("X-City", "Zürich".encode().decode("latin-1"))]), headers=asks))
        self.assertFalse(meets(http(headers=[("X-City", "Zürich")]), headers=asks))

    def test_all_headers_must_match(self) -> None:
        asks = (("A", "1"), ("B", "2"))
        self.assertTrue(meets(http(headers=[("b", "2"), ("a", "1")]), headers=asks))
        self.assertFalse(meets(http(headers=[("a", "1")]), headers=asks))

    def test_a_query_is_matched_by_each_of_its_values(self) -> None:
        asks = (("debug", "1"),)
        for path in ("/?debug=1", "/?a=2&debug=0&debug=1&b", "/?&&debug=1"):
            self.assertTrue(meets(http(path), query=asks), path)
        for path in (
            "/",
            "/?",
            "/?debug",
            "/?debug=",
            "/?debug=11",
            "/?Debug=1",
            "/?xdebug=1",
            "/?a=debug=1",
            "/?a;debug=1",
        ):
            self.assertFalse(meets(http(path), query=asks), path)
        for facts in (raw(), tls("a.example")):
            self.assertFalse(meets(facts, query=asks))

    def test_a_star_in_a_query_is_any_value(self) -> None:
        for path in ("/?q=1", "/?q=", "/?q", "/?q=*"):
            self.assertTrue(meets(http(path), query=(("q", "*"),)), path)
        self.assertFalse(meets(http("/?r=1"), query=(("q", "*"),)))

    def test_a_name_without_a_value_has_the_empty_one(self) -> None:
        self.assertTrue(meets(http("/?debug"), query=(("debug", ""),)))
        self.assertTrue(meets(http("/?debug="), query=(("debug", ""),)))
        self.assertFalse(meets(http("/?debug=1"), query=(("debug", ""),)))
        self.assertFalse(meets(http("/"), query=(("debug", ""),)))

    def test_a_query_is_compared_decoded(self) -> None:
        asks = (("a b", "J\xfcrgen & co"),)
        self.assertTrue(meets(http("/?a+b=J%C3%BCrgen+%26%20co"), query=asks))
        self.assertTrue(meets(http("/?%61%20b=J%c3%bcrgen%20%26+co"), query=asks))
        self.assertFalse(meets(http("/?a%2520b=1"), query=(("a b", "1"),)), "decoded once")
        self.assertFalse(meets(http("/?a=%ff"), query=(("a", "\ufffd"),)), "not UTF-8")

    def test_all_parts_of_a_query_must_match(self) -> None:
        asks = (("a", "1"), ("b", "*"))
        self.assertTrue(meets(http("/?b=2&a=1"), query=asks))
        self.assertFalse(meets(http("/?a=1"), query=asks))

    def test_a_query_is_shown_with_its_values(self) -> None:
        (condition,) = conditions_of(MatchPlan(PORTS, query=(("debug", "1"),)))
        self.assertEqual((condition.subject, condition.wanted), ("query debug", "1"))
        shown = [condition.seen(http(path)) for path in ("/?debug=0&debug=%0a", "/?debug", "/")]
        self.assertEqual(shown, [r"0 or \n", '""', "none"])

    def test_a_protocol_matches_its_own_first_bytes_only(self) -> None:
        seen = {"tls": tls(), "http": http(), "tcp": raw()._replace(protocol=ApplicationProtocol.RAW)}
        for wanted in seen:
            met = [name for name, facts in seen.items() if meets(facts, protocol=wanted)]
            self.assertEqual(met, [wanted])

    def test_a_protocol_is_shown_as_the_configuration_names_it(self) -> None:
        (condition,) = conditions_of(MatchPlan(PORTS, protocol="tls"))
        told = [
            condition.seen(facts)
            for facts in (tls(), http(), raw()._replace(protocol=ApplicationProtocol.RAW))
        ]
        self.assertEqual(told, ["tls", "http", "tcp"])

    def test_an_invalid_domain_is_refused(self) -> None:
        self.assertRaises(ValueError, conditions_of, MatchPlan(PORTS, domains=("a.*.com",)))

    def test_text_of_a_client_is_shown_on_one_line(self) -> None:
        hostile = http("/\r\n\x1b[0m\0é", host="a\nb", method="G\nT", headers=[("X", "\t\xe9")])
        asks = MatchPlan(PORTS, domains=("*",), path="/", methods=frozenset({"GET"}), headers=(("X", "1"),))
        for condition in conditions_of(asks):
            shown = condition.seen(hostile)
            self.assertTrue(shown.isprintable() and shown.isascii(), shown)

    def test_many_wanted_values_are_abbreviated(self) -> None:
        names = tuple(f"h{number}.example" for number in range(9))
        (condition,) = conditions_of(MatchPlan(PORTS, domains=names))
        self.assertEqual(condition.wanted.count(" or "), 4)
        self.assertTrue(condition.wanted.endswith("h4.example and 4 more"))


class ListenerTests(SynchronousTestCase):
    def test_a_route_without_an_address_is_on_all_listeners(self) -> None:
        self.assertTrue(is_heard_on(MatchPlan(PORTS), "127.0.0.1"))
        self.assertTrue(is_heard_on(MatchPlan(PORTS), ""))
        self.assertTrue(is_heard_on(MatchPlan(PORTS, addresses=("127.0.0.1",)), "127.0.0.1"))
        self.assertFalse(is_heard_on(MatchPlan(PORTS, addresses=("127.0.0.1",)), ""))
        self.assertFalse(is_heard_on(MatchPlan(PORTS, addresses=("127.0.0.1",)), "::1"))

    def test_patterns_are_normalised_and_deduplicated(self) -> None:
        match = MatchPlan(PORTS, domains=("A.example", "a.example.", "*"))
        self.assertEqual(patterns_of(match), ("a.example", "*"))


class SpecificityTests(SynchronousTestCase):
    def test_the_first_difference_in_specificity_decides(self) -> None:
        everything = {
            "path": "/x/*",
            "client_ip": AddressSet(["::/0"]),
            "headers": (("A", "1"), ("B", "2")),
            "methods": frozenset({"GET"}),
            "protocol": "http",
            "addresses": ("::1",),
        }
        ordered = [
            ("a.example", {}),
            ("*.a.example", {}),
            ("*.example", {}),
            ("*", {"path": "/"}),
            ("*", {}),
            ("", {}),
            (None, {"path": "/x"}),
            (None, everything),
            (None, {"path": "/*"}),
            (None, {"client_ip": AddressSet(["::/0"])}),
            (None, {"headers": (("A", "1"),), "query": (("b", "*"), ("c", "1"))}),
            (None, {"headers": (("A", "1"), ("B", "2"))}),
            (None, {"query": (("a", "1"),)}),
            (None, {"methods": frozenset({"GET"})}),
            (None, {"alpn": frozenset({"h2"})}),
            (None, {"protocol": "tls"}),
            (None, {"addresses": ("::1",)}),
            (None, {}),
        ]
        ranks = [specificity(MatchPlan(PORTS, **asks), pattern) for pattern, asks in ordered]
        self.assertEqual(ranks, sorted(ranks, reverse=True))
        self.assertEqual(len(set(ranks)), len(ranks))
