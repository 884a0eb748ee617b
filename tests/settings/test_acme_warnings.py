"""Valid automatic certificates that look like mistakes, and those that do not."""

from __future__ import annotations

from typing import Any

from smartproxy import ConfigurationError, Settings
from tests.settings.formats import route
from tests.settings.test_acme import AUTO, OWN
from tests.settings.tls_case import FileCase


class AcmeWarningTests(FileCase):
    def warned(self, acme: Any, domains: Any = "a.example.com", **options: Any) -> list[str]:
        match = {"ports": options.pop("ports", 443), "domains": domains}
        warnings = self.load(options.pop("tls", AUTO), match=match, acme=acme, **options).warnings()
        return [warning.partition(": ")[2] for warning in warnings]

    def test_sensible_configurations_have_no_warning(self) -> None:
        for acme in (
            {},
            {"email": "a@example.com"},
            {"challenge": "http-01"},
            {"challenge": "tls-alpn-01"},
            {"renewBefore": "30d"},
            {"directory": OWN, "challenge": "tls-alpn-01", "renewBefore": "61d"},
        ):
            self.assertEqual(self.warned(acme), [], acme)
        self.assertEqual(self.warned({"directory": OWN, "challenge": "tls-alpn-01"}, ports=8443), [])

    def test_domains_are_covered_by_the_certificate_to_come(self) -> None:
        """No file has these names, and none needs to."""
        self.write("certs/a.pem", (self.folder / "a.pem").read_bytes() + (self.folder / "a.key").read_bytes())
        value = {
            "acme": {},
            "tls": {"certificates": str(self.folder / "certs")},
            "routes": [route("b", 443, action={"tls": AUTO}, match={"domains": "b.example.com"})],
        }
        self.assertEqual([w for w in Settings.of(value).warnings() if "is in no certificate" in w], [])

    def test_automatic_default_covers_every_other_route(self) -> None:
        self.write("certs/a.pem", (self.folder / "a.pem").read_bytes() + (self.folder / "a.key").read_bytes())
        value = {
            "acme": {},
            "tls": {"certificates": str(self.folder / "certs"), "default": "b.example.com"},
            "routes": [
                route("b", 443, action={"tls": AUTO}, match={"domains": "b.example.com"}),
                route("c", 443, action={"tls": {"mode": "terminate"}}, match={"domains": "c.example.com"}),
            ],
        }
        self.assertEqual([w for w in Settings.of(value).warnings() if "is in no certificate" in w], [])
        value["tls"] = {"certificates": str(self.folder / "certs")}
        self.assertEqual(len([w for w in Settings.of(value).warnings() if "is in no certificate" in w]), 1)

    def test_acme_without_a_route_is_a_warning(self) -> None:
        found = self.warned({"email": "a@example.com"}, tls={"mode": "passthrough"})
        self.assertEqual(
            found, ['acme: is used by no route: write "certificate: auto" in action.tls of those it is for']
        )

    def test_dns_that_the_challenge_does_not_use_is_a_warning(self) -> None:
        acme = {"challenge": "http-01", "dns": {"handler": "tests.settings.test_acme:change"}}
        self.assertEqual(self.warned(acme), ['acme.dns: is not used: challenge is "http-01"'])

    def test_tls_challenge_without_port_443_is_a_warning(self) -> None:
        found = self.warned({"challenge": "tls-alpn-01"}, ports=8443)
        expected = (
            "acme.challenge: is tls-alpn-01, for which the authority connects to port 443, and no route with "
            '"certificate: auto" listens on it'
        )
        self.assertEqual(found, [expected])

    def test_early_renewal_is_a_warning_of_public_authorities(self) -> None:
        [found] = self.warned({"renewBefore": "61d"})
        self.assertTrue(found.startswith("acme.renewBefore: is longer than 60 days"), found)
        self.assertTrue(found.endswith('(got "61d")'), found)

    def test_number_without_a_unit_is_a_warning(self) -> None:
        [found] = self.warned({"renewBefore": 30})
        self.assertIn('did you mean "30d"?', found)

    def test_address_without_its_profile_is_a_warning(self) -> None:
        [found] = self.warned({}, "8.8.8.8")
        self.assertTrue(found.startswith("routes[0].match.domains[0]: is an IP address"), found)
        self.assertIn('in profile "shortlived" only', found)
        self.assertEqual(self.warned({"profile": "shortlived"}, "8.8.8.8"), [])


class AddressWarningTests(FileCase):
    """Addresses among the domains, which TLS clients without SNI are compared with."""

    def warnings(self, tls: Any, **match: Any) -> list[str]:
        found = self.load(tls, match={"ports": 443, **match}, acme={"directory": OWN}).warnings()
        return [line.partition(": ")[2] for line in found if "acme: is used by no route" not in line]

    def test_address_is_no_mistake_where_tls_is_terminated(self) -> None:
        for tls in (AUTO, {"mode": "terminate", "certificate": "selfSigned"}):
            for address in ("203.0.113.7", "2001:db8::7"):
                self.assertEqual(self.warnings(tls, domains=address), [])

    def test_address_in_passthrough_matches_plain_http_only(self) -> None:
        [found] = self.warnings({"mode": "passthrough"}, domains="203.0.113.7")
        self.assertIn("only plain HTTP requests match", found)
        self.assertEqual(self.warnings({}, domains="203.0.113.7", protocol="http"), [])

    def test_address_that_no_shared_certificate_has_is_a_warning(self) -> None:
        self.write("certs/a.pem", (self.folder / "a.pem").read_bytes() + (self.folder / "a.key").read_bytes())
        for top, expected in (({}, 1), ({"default": "a.example"}, 0)):
            tls = {"certificates": "certs", **top}
            found = self.load({"mode": "terminate"}, match={"domains": "203.0.113.7"}, tls=tls).warnings()
            told = [line for line in found if "is in no certificate of this route" in line]
            self.assertEqual(len(told), expected, found)

    def test_star_does_not_cover_an_address(self) -> None:
        """A client without SNI does not match ``*``, so the route behind it is reached."""
        star = route("star", 443, match={"domains": "*"}, priority=1, action={"type": "block", "targets": []})
        own = route("own", 443, match={"domains": "203.0.113.7"}, action={"tls": AUTO})
        Settings.of({"acme": {"directory": OWN}, "routes": [star, own]})
        nameless = {"mode": "terminate", "certificate": "selfSigned"}
        same = route("other", 443, match={"domains": "203.0.113.7"}, action={"tls": nameless})
        raised = self.assertRaises(
            ConfigurationError, Settings.of, {"acme": {"directory": OWN}, "routes": [own, same]}
        )
        self.assertIn("is never reached", raised.problems[0])
