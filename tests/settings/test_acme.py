"""Automatic certificates in valid configurations: what ``acme`` and ``certificate: auto`` compile to."""

from __future__ import annotations

import os
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from smartproxy import Acme, AcmeDns, Action, Match, OnDemand, Route, RouteTls, Settings
from smartproxy.model.plan import (
    AcmePlan,
    CertificatePlan,
    ChallengeType,
    ExternalAccount,
    OnDemandPlan,
    TerminationPlan,
)
from tests.settings.formats import FORMATS, route
from tests.settings.tls_case import FileCase

OWN = "https://ca.internal:9000/acme/directory"
AUTO = {"mode": "terminate", "certificate": "auto"}
HTTP, TLS, DNS = ChallengeType.HTTP_01, ChallengeType.TLS_ALPN_01, ChallengeType.DNS_01


async def approve(name: str) -> bool:
    """Approve a name on demand."""
    return name.endswith(".example")


def change(action: str, name: str, value: str) -> None:
    """Change the DNS."""


class AutomaticCase(FileCase):
    def acme(self, acme: Any = None, domains: Any = "a.example.com", **options: Any) -> AcmePlan:
        """The plan of ``acme`` where one route uses it."""
        made = self.automatic(acme, domains, **options).acme
        assert made is not None
        return made

    def automatic(self, acme: Any = None, domains: Any = "a.example.com", **options: Any) -> Any:
        match = {"ports": options.pop("ports", 443), **({} if domains is None else {"domains": domains})}
        return self.plan(AUTO, match=match, acme=acme or {}, **options)

    def route_tls(self, acme: Any, domains: Any) -> TerminationPlan:
        made = self.automatic(acme, domains).routes[0].tls
        assert isinstance(made, TerminationPlan)
        return made


class AcmePlanTests(AutomaticCase):
    def test_empty_mapping_is_lets_encrypt_with_defaults(self) -> None:
        made = self.acme({})
        self.assertEqual(made.directory, "https://acme-v02.api.letsencrypt.org/directory")
        self.assertEqual(made.store, str(self.folder / "acme"))
        self.assertEqual((made.email, made.ca, made.external_account, made.dns), (None, None, None, None))
        self.assertEqual((made.key_type, made.renew_before, made.http_port), ("ecdsa-p256", None, 80))
        self.assertEqual((made.until, made.profile, made.on_demand, made.listens), ("refuse", None, None, ()))

    def test_every_key_is_compiled(self) -> None:
        command = self.write("dns.sh", "#!/bin/sh\n")
        command.chmod(0o755)
        made = self.acme(
            {
                "email": "admin@example.com",
                "directory": OWN,
                "ca": "ca.pem",
                "challenge": "dns-01",
                "keyType": "rsa-2048",
                "renewBefore": "20d",
                "eab": {"keyId": "kid", "hmacKey": "-_8"},
                "store": "state/acme",
                "httpPort": 8080,
                "dns": {"command": "dns.sh"},
                "profile": "shortlived",
                "until": "selfSigned",
                "onDemand": {"ask": "http://127.0.0.1:5555/ask", "maxPerHour": 5},
            }
        )
        expected = AcmePlan(
            directory=OWN,
            store=str(self.folder / "state/acme"),
            email="admin@example.com",
            ca=(self.folder / "ca.pem").read_bytes(),
            challenges=(DNS,),
            key_type="rsa-2048",
            renew_before=20 * 86400.0,
            external_account=ExternalAccount("kid", b"\xfb\xff"),
            http_port=8080,
            dns=str(command),
            profile="shortlived",
            until="selfSigned",
            on_demand=OnDemandPlan("http://127.0.0.1:5555/ask", 5),
        )
        self.assertEqual(made, expected)

    def test_known_directories_have_their_urls(self) -> None:
        eab = {"keyId": "a", "hmacKey": "AAAA"}
        for name, url in {
            "letsencrypt": "https://acme-v02.api.letsencrypt.org/directory",
            "letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
            "zerossl": "https://acme.zerossl.com/v2/DV90",
        }.items():
            self.assertEqual(self.acme({"directory": name, "eab": eab}).directory, url)

    def test_path_of_the_store_may_be_absolute(self) -> None:
        self.assertEqual(self.acme({"store": "/var/lib/acme"}).store, "/var/lib/acme")

    def test_padding_of_the_hmac_key_does_not_matter(self) -> None:
        for written in ("-_8", "-_8="):
            account = self.acme({"eab": {"keyId": "a", "hmacKey": written}}).external_account
            assert account is not None
            self.assertEqual(account.hmac_key, b"\xfb\xff")

    def test_hmac_key_may_come_from_a_variable_and_is_not_shown(self) -> None:
        self.patch(os, "environ", {"EAB_KEY": "c2VjcmV0"})
        settings = self.load(
            AUTO,
            match={"ports": 443, "domains": "a.example.com"},
            acme={"eab": {"keyId": "a", "hmacKey": "${EAB_KEY}"}},
        )
        plan = settings.compile().acme
        assert plan is not None
        self.assertEqual(plan.external_account, ExternalAccount("a", b"secret"))
        self.assertNotIn("c2VjcmV0", repr(settings))
        self.assertNotIn("secret", repr(plan))

    def test_acme_that_no_route_uses_is_not_in_the_plan(self) -> None:
        self.assertIsNone(self.plan(acme={}).acme)

    def test_disabled_route_does_not_use_acme(self) -> None:
        automatic = route(action={"tls": AUTO}, match={"domains": "a.example.com"}, enabled=False)
        settings = Settings.of({"acme": {}, "routes": [automatic, route("other")]})
        self.assertIsNone(settings.compile().acme)

    def test_callable_certificate_has_acme_where_it_is_configured(self) -> None:
        """A callable may choose an automatic certificate."""
        chosen = {"mode": "terminate", "certificate": lambda _name: None}
        for acme, is_there in (({}, True), (None, False)):
            value: dict[str, Any] = {"routes": [route(action={"tls": chosen})]}
            value |= {} if acme is None else {"acme": acme}
            self.assertEqual(Settings.of(value).compile().acme is not None, is_there)

    def test_authorities_of_the_directory_are_followed(self) -> None:
        """The configuration is compiled again when the file changes."""
        plan = self.automatic({"directory": OWN, "ca": "ca.pem"})
        self.assertIn(str(self.folder / "ca.pem"), plan.tls.files)


class ChallengeTests(AutomaticCase):
    def test_explicit_challenge_is_the_only_one(self) -> None:
        for name in ("http-01", "tls-alpn-01"):
            self.assertEqual(self.acme({"challenge": name}).challenges, (ChallengeType(name),))

    def test_auto_prefers_http_where_a_route_has_its_port(self) -> None:
        self.assertEqual(self.acme({}, ports=[80, 443]).challenges, (HTTP, TLS))
        self.assertEqual(self.acme({"httpPort": 8080}, ports=["8000-8100"]).challenges, (HTTP, TLS))

    def test_auto_prefers_tls_where_no_route_has_the_http_port(self) -> None:
        self.assertEqual(self.acme({}).challenges, (TLS,))
        self.assertEqual(self.acme({"httpPort": 8080}, ports=[80, 443]).challenges, (TLS,))

    def test_auto_adds_dns_last_where_it_is_configured(self) -> None:
        made = self.acme({"dns": {"handler": "tests.settings.test_acme:change"}})
        self.assertEqual((made.challenges, made.dns), ((TLS, DNS), change))

    def test_proxy_listens_for_http_where_no_route_does(self) -> None:
        self.assertEqual(self.acme({"challenge": "http-01"}).listens, ("",))
        self.assertEqual(self.acme({"challenge": "http-01"}, ports=[80, 443]).listens, ())
        self.assertEqual(self.acme({"challenge": "http-01", "httpPort": 443}).listens, ())

    def test_disabled_route_does_not_listen_for_http(self) -> None:
        automatic = route(action={"tls": AUTO}, ports=443, match={"domains": "a.example.com"})
        value = {"acme": {"challenge": "http-01"}, "routes": [automatic, route("http", 80, enabled=False)]}
        plan = Settings.of(value).compile().acme
        assert plan is not None
        self.assertEqual(plan.listens, ("",))


class AutomaticRouteTests(AutomaticCase):
    def test_one_certificate_has_all_names_once_as_written(self) -> None:
        made = self.route_tls({"directory": OWN}, ["B.example", "a.example", "b.example.", "Bücher.example"])
        names = ("b.example", "a.example", "xn--bcher-kva.example")
        self.assertEqual(made.certificates, (CertificatePlan("acme", automatic=True, names=names),))
        self.assertEqual(made.on_demand, ())

    def test_addresses_are_normalised(self) -> None:
        made = self.route_tls({"directory": OWN}, ["2001:DB8::0:1", "::ffff:203.0.113.7"])
        self.assertEqual(made.certificates[0].names, ("2001:db8::1", "203.0.113.7"))

    def test_until_self_signed_marks_the_entry(self) -> None:
        made = self.route_tls({"until": "selfSigned"}, "a.example.com")
        self.assertTrue(made.certificates[0].self_signed)
        self.assertTrue(made.certificates[0].automatic)

    def test_wildcard_is_ordered_where_dns_can_be_changed(self) -> None:
        acme = {"directory": OWN, "dns": {"handler": "tests.settings.test_acme:change"}}
        for challenge in ("auto", "dns-01"):
            made = self.route_tls({**acme, "challenge": challenge}, ["*.a.example", "a.example"])
            self.assertEqual(made.certificates[0].names, ("*.a.example", "a.example"))

    def test_wildcard_is_never_ordered_on_demand(self) -> None:
        acme = {
            "dns": {"handler": "tests.settings.test_acme:change"},
            "onDemand": {"ask": "tests.settings.test_acme:approve"},
        }
        made = self.route_tls(acme, ["*.a.example.com", "a.example.com"])
        self.assertEqual(made.certificates[0].names, ("a.example.com",))
        self.assertEqual(made.on_demand, ("*.a.example.com",))

    def test_route_with_wildcards_only_has_no_entry_on_demand(self) -> None:
        made = self.route_tls({"onDemand": {"ask": "http://[::1]/ask"}}, ["*.a.example.com", "*"])
        self.assertEqual((made.certificates, made.on_demand), ((), ("*.a.example.com", "*")))

    def test_route_without_domains_is_every_name_on_demand(self) -> None:
        made = self.route_tls({"onDemand": {"ask": "https://ask.example/?token=x"}}, None)
        self.assertEqual((made.certificates, made.on_demand), ((), ("*",)))

    def test_routes_with_certificate_files_are_not_on_demand(self) -> None:
        tls = {"mode": "terminate", "certificate": {"certFile": "a.pem", "keyFile": "a.key"}}
        acme = {"onDemand": {"ask": "http://[::1]/ask"}}
        plan = self.plan(tls, match={"domains": "*.example"}, acme=acme)
        assert plan.routes[0].tls is not None
        self.assertEqual(plan.routes[0].tls.on_demand, ())
        self.assertFalse(plan.routes[0].tls.certificates[0].automatic)

    def test_default_may_be_a_name_of_an_automatic_certificate(self) -> None:
        self.assertEqual(self.automatic({}, tls={"default": "A.example.com"}).tls.default, "a.example.com")

    def test_hundred_names_are_accepted(self) -> None:
        names = [f"{number}.example.com" for number in range(100)]
        self.assertEqual(len(self.route_tls({}, names).certificates[0].names), 100)

    def test_own_directory_certifies_names_of_any_kind(self) -> None:
        names = ["localhost", "printer", "a.local", "b.test", "c_d.internal", "192.0.2.1"]
        made = self.route_tls({"directory": OWN}, names)
        self.assertEqual(made.certificates[0].names, tuple(names))


class SpellingTests(SynchronousTestCase):
    def test_every_format_gives_the_same_plan(self) -> None:
        value = {
            "routes": [route(action={"tls": AUTO}, match={"domains": ["a.example.com"]})],
            "acme": {
                "email": "a@example.com",
                "keyType": "rsa-2048",
                "renewBefore": "10d",
                "eab": {"keyId": "kid", "hmacKey": "AAAA"},
                "onDemand": {"ask": "http://127.0.0.1/ask"},
            },
        }
        plans = {name: Settings.parse(write(value), name).compile() for name, write in FORMATS.items()}
        plans["mapping"] = Settings.of(value).compile()
        for name, plan in plans.items():
            assert plan.acme is not None
            self.assertEqual(plan.acme, plans["yaml"].acme, name)
            self.assertEqual(plan.acme.email, "a@example.com")
            self.assertEqual(plan.routes[0].tls, plans["yaml"].routes[0].tls, name)

    def test_callables_are_given_in_python(self) -> None:
        settings = Settings(
            acme=Acme(
                email="a@example.com",
                dns=AcmeDns(handler=change),
                on_demand=OnDemand(ask=approve, max_per_hour=3),
                key_type="rsa-2048",
            ),
            routes=[
                Route(
                    name="a",
                    match=Match(ports=443, domains=["a.example.com"]),
                    action=Action(
                        targets=[{"host": "192.0.2.1", "port": 1}],
                        tls=RouteTls(mode="terminate", certificate="auto"),
                    ),
                )
            ],
        )
        plan = settings.compile().acme
        assert plan is not None
        self.assertEqual((plan.dns, plan.on_demand), (change, OnDemandPlan(approve, 3)))
        self.assertEqual((plan.key_type, plan.challenges[-1]), ("rsa-2048", DNS))
