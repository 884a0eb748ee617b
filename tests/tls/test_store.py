"""The certificates in force: the choice for a ClientHello, renewal, reloads, and the list for the admin API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.model.certificate_status import ShownStaple
from smartproxy.model.plan import CertificatePlan
from smartproxy.tls import certificate
from smartproxy.tls.certificate import Certificate
from smartproxy.tls.store import CertificateStore, ConfiguredCertificates
from tests.counting import counted
from tests.tls import talk
from tests.tls.made import DAY, NOW, Authority

if TYPE_CHECKING:
    pass

CA = Authority()
EXACT = CA.leaf("a.example").plan("a.pem")
RSA = CA.leaf("a.example", kind="rsa").plan("rsa.pem")
V4 = CA.leaf("192.0.2.1").plan("v4.pem")
V6 = CA.leaf("2001:0db8::0:1").plan("v6.pem")
WILD = CA.leaf("*.example", kind="p384").plan("wild.pem")


class ChoiceTests(SynchronousTestCase):
    def chosen(
        self,
        name: str | None,
        *shared: CertificatePlan,
        default: str | None = None,
        after: float = 0,
        hello: Any = None,
    ) -> str:
        """The source of the certificate for a client of a route without certificates of its own.

        :param after: days from now.
        """
        to = talk.route()
        configured = ConfiguredCertificates(talk.proxy(to, certificates=shared, default=default))
        self.patch(certificate.time, "time", (NOW + after * DAY).timestamp)
        found = configured.find(to.tls, hello or talk.hello(name))
        return "none" if found is None else found.plan.source

    def test_exact_name_is_preferred_to_wildcard_in_any_order(self) -> None:
        for shared in ((WILD, EXACT), (EXACT, WILD)):
            self.assertEqual(self.chosen("a.example", *shared), "a.pem")
            self.assertEqual(self.chosen("b.example", *shared), "wild.pem")

    def test_wildcard_covers_exactly_one_label(self) -> None:
        self.assertEqual(self.chosen("c.b.example", WILD, EXACT), "none")
        self.assertEqual(self.chosen("example", WILD, EXACT), "none")

    def test_unknown_name_gets_the_default_where_there_is_one(self) -> None:
        self.assertEqual(self.chosen("other.test", EXACT), "none")
        self.assertEqual(self.chosen("other.test", WILD, EXACT, default="a.example"), "a.pem")
        self.assertEqual(self.chosen("other.test", EXACT, WILD, default="*.example"), "wild.pem")

    def test_hello_without_name_gets_the_default_of_the_shared_ones(self) -> None:
        self.assertEqual(self.chosen(None, EXACT), "none")
        self.assertEqual(self.chosen(None, EXACT, WILD, default="*.example"), "wild.pem")

    def test_hello_without_name_gets_the_first_of_the_route(self) -> None:
        other = CA.leaf("b.example").plan("b.pem")
        to = talk.route(other, EXACT)
        configured = ConfiguredCertificates(talk.proxy(to, certificates=(EXACT,), default="a.example"))
        self.assertEqual(configured.find(to.tls, talk.hello(None)).plan.source, "b.pem")

    def test_route_on_demand_does_not_use_the_shared_ones(self) -> None:
        """Its certificates are ordered for it; one of another owner must not be shown by accident."""
        to = talk.route(on_demand=("*",))
        configured = ConfiguredCertificates(talk.proxy(to, certificates=(EXACT,)))
        self.assertIsNone(configured.find(to.tls, talk.hello("a.example")))
        other = ConfiguredCertificates(talk.proxy(to, certificates=(EXACT,), default="a.example"))
        self.assertEqual(other.find(to.tls, talk.hello("b.example")).plan.source, "a.pem")

    def test_self_signed_certificate_has_addresses_as_such(self) -> None:
        """Clients compare an address with the IP addresses of a certificate only (RFC 9525, 6.5)."""
        made = Certificate(
            CertificatePlan("selfSigned", self_signed=True, names=("a.example", "2001:db8::1", "192.0.2.1"))
        )
        found = made.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(found.get_values_for_type(x509.DNSName), ["a.example"])
        self.assertEqual(
            [str(one) for one in found.get_values_for_type(x509.IPAddress)], ["2001:db8::1", "192.0.2.1"]
        )

    def test_hello_without_name_gets_the_certificate_for_the_local_address(self) -> None:
        """A client that connects to an address sends no name (RFC 6066, 3)."""
        for shared in ((V4, V6, EXACT), (EXACT, V6, V4)):
            for local, expected in (
                ("192.0.2.1", "v4.pem"),
                ("2001:db8::1", "v6.pem"),
                ("192.0.2.9", "a.pem"),
            ):
                to = talk.route()
                configured = ConfiguredCertificates(talk.proxy(to, certificates=shared, default="a.example"))
                found = configured.find(to.tls, talk.hello(None), lambda local=local: local)
                self.assertEqual(found.plan.source, expected)

    def test_certificate_of_a_route_for_the_local_address_is_preferred_to_its_first(self) -> None:
        to = talk.route(EXACT, V4)
        configured = ConfiguredCertificates(talk.proxy(to))
        for local, expected in (("192.0.2.1", "v4.pem"), ("192.0.2.9", "a.pem")):
            found = configured.find(to.tls, talk.hello(None), lambda local=local: local)
            self.assertEqual(found.plan.source, expected)

    def test_name_is_preferred_to_the_local_address(self) -> None:
        to = talk.route()
        configured = ConfiguredCertificates(talk.proxy(to, certificates=(V4, EXACT)))
        self.assertEqual(configured.find(to.tls, talk.hello(), lambda: "192.0.2.1").plan.source, "a.pem")
        self.assertIsNone(configured.find(to.tls, talk.hello("b.example"), lambda: "192.0.2.1"))

    def test_address_may_be_the_default(self) -> None:
        self.assertEqual(self.chosen(None, EXACT, V4, default="192.0.2.1"), "v4.pem")
        self.assertEqual(self.chosen("other.test", EXACT, V6, default="2001:db8::1"), "v6.pem")

    def test_key_type_counts_among_certificates_for_an_address(self) -> None:
        rsa = CA.leaf("192.0.2.1", kind="rsa").plan("rsa.pem")
        to = talk.route()
        configured = ConfiguredCertificates(talk.proxy(to, certificates=(V4, rsa)))
        hello = talk.hello(None, signature_algorithms=(0x0804, 0x0401))
        self.assertEqual(configured.find(to.tls, hello, lambda: "192.0.2.1").plan.source, "rsa.pem")

    def test_certificate_of_the_route_is_preferred_to_shared_ones(self) -> None:
        mine = CA.leaf("a.example").plan("mine.pem")
        to = talk.route(mine)
        configured = ConfiguredCertificates(talk.proxy(to, certificates=(EXACT,)))
        self.assertEqual(configured.find(to.tls, talk.hello()).plan.source, "mine.pem")

    def test_of_two_for_a_name_the_last_to_expire_is_chosen(self) -> None:
        longer = CA.leaf("a.example", end=60 * DAY).plan("longer.pem")
        self.assertEqual(self.chosen("a.example", EXACT, longer), "longer.pem")
        self.assertEqual(self.chosen("a.example", longer, EXACT), "longer.pem")

    def test_certificate_that_has_expired_gives_way_to_a_valid_one(self) -> None:
        """A restart would leave it out and show the other one, so the running proxy must not refuse clients in effect."""
        longer = {kind: CA.leaf(name, kind=kind, end=60 * DAY).plan(kind) for name, kind in
                  (("a.example", "rsa"), ("*.example", "p384"))}  # fmt: skip
        for other in longer.values():
            self.assertEqual(self.chosen("a.example", EXACT, other), "a.pem")
            self.assertEqual(self.chosen("a.example", EXACT, other, after=31), other.source)
        self.assertEqual(
            self.chosen("other.test", EXACT, longer["rsa"], default="a.example", after=31), "rsa"
        )

    def test_certificate_that_has_expired_is_shown_where_there_is_no_other(self) -> None:
        for shared in ((EXACT,), (EXACT, WILD), (WILD, EXACT)):
            self.assertEqual(self.chosen("a.example", *shared, after=31), "a.pem")
        rsa_only = CA.leaf("a.example", kind="rsa", end=60 * DAY).plan("rsa")
        hello = talk.hello(signature_algorithms=(0x0403,))
        self.assertEqual(self.chosen("a.example", EXACT, rsa_only, after=31, hello=hello), "a.pem")

    def test_self_signed_certificate_is_used_for_any_other_name(self) -> None:
        made = CertificatePlan("selfSigned", self_signed=True, names=("*.example",))
        self.assertEqual(self.chosen("other.test", made, EXACT), "selfSigned")
        self.assertEqual(self.chosen("a.example", made, EXACT), "a.pem")

    def test_rsa_is_chosen_for_a_client_that_verifies_nothing_else(self) -> None:
        to = talk.route(RSA, EXACT)
        configured = ConfiguredCertificates(talk.proxy(to))
        hello = talk.hello(signature_algorithms=(0x0804, 0x0401))
        self.assertEqual(configured.find(to.tls, hello).plan.source, "rsa.pem")

    def test_client_that_can_verify_none_gets_the_preferred_one(self) -> None:
        """Its handshake then fails with the alert for that, which says more than a missing certificate."""
        to = talk.route(RSA, EXACT)
        configured = ConfiguredCertificates(talk.proxy(to))
        hello = talk.hello(signature_algorithms=(0x0503,))  # ECDSA on P-384; ours is on P-256
        self.assertEqual(configured.find(to.tls, hello).plan.source, "a.pem")

    def test_choice_among_1000_names_costs_what_it_does_among_10(self) -> None:
        def cost(many: int) -> int:
            shared = [CA.leaf(f"n{number}.example").plan(f"{number}.pem") for number in range(many)]
            to = talk.route()
            configured = ConfiguredCertificates(talk.proxy(to, certificates=tuple(shared)))
            hello = talk.hello(f"n{many - 1}.example")
            with counted() as calls:
                configured.find(to.tls, hello)
            return int(calls.count)

        few, many = cost(10), cost(1000)
        self.assertEqual(many, few)


class RenewalTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = CertificateStore()
        self.changes = 0
        self.store.on_change.append(self.count)

    def count(self) -> None:
        self.changes += 1

    def apply(self, *routes: object, **tls: object) -> ConfiguredCertificates:
        configured = self.store.prepare(talk.proxy(*routes, **tls))
        self.store.apply(configured)
        return configured

    def test_renewed_certificate_replaces_that_of_its_entry(self) -> None:
        to = talk.route(EXACT)
        configured = self.apply(to)
        newer = CA.leaf("a.example", end=90 * DAY).plan("newer.pem")
        self.store.show(self.store.changed({EXACT: newer}))
        self.assertEqual(configured.find(to.tls, talk.hello()).plan, newer)
        self.assertEqual([*self.store.own_entries], [EXACT])
        self.assertEqual([one.plan for one in self.store.certificates], [newer])
        self.assertEqual(self.changes, 2)

    def test_renewal_leaves_a_configuration_not_in_force_as_it_is(self) -> None:
        """A connection that was accepted before a reload goes on with the certificates of its configuration."""
        to = talk.route(EXACT)
        former = self.apply(to)
        self.apply(to)
        newer = CA.leaf("a.example", end=90 * DAY).plan("newer.pem")
        self.store.show(self.store.changed({EXACT: newer}))
        self.assertEqual(former.find(to.tls, talk.hello()).plan, EXACT)

    def test_reload_replaces_renewed_certificates_by_configured_ones(self) -> None:
        to = talk.route(EXACT)
        self.apply(to)
        newer = CA.leaf("a.example", end=90 * DAY).plan("newer.pem")
        self.store.show(self.store.changed({EXACT: newer}))
        again = self.apply(to)
        self.assertEqual(again.find(to.tls, talk.hello()).plan.source, "a.pem")

    def test_replaced_shared_certificates_leave_those_of_routes(self) -> None:
        to, own = talk.route(), talk.route(RSA, name="own")
        configured = self.apply(to, own, certificates=(EXACT,))
        other = CA.leaf("b.example").plan("b.pem")
        self.store.show(self.store.changed({}, (other,)))
        self.assertIsNone(configured.find(to.tls, talk.hello("a.example")))
        self.assertEqual(configured.find(to.tls, talk.hello("b.example")).plan.source, "b.pem")
        self.assertEqual(configured.find(own.tls, talk.hello("a.example")).plan.source, "rsa.pem")
        self.assertEqual(self.changes, 2)

    def test_prepared_configuration_is_not_in_force(self) -> None:
        """The reload that prepared it may still fail."""
        self.apply(talk.route(EXACT))
        self.store.prepare(talk.proxy(talk.route(RSA)))
        self.assertEqual([*self.store.own_entries], [EXACT])
        self.assertEqual(self.changes, 1)

    def test_self_signed_certificate_is_kept_over_a_reload(self) -> None:
        """Clients that were told to trust it would have to be told again."""
        made = CertificatePlan("selfSigned", self_signed=True, names=("a.example",))
        self.apply(talk.route(made))
        [before] = self.store.certificates
        self.apply(talk.route(made), talk.route(EXACT, name="more"))
        self.assertIn(before, self.store.certificates)


class StatusTests(SynchronousTestCase):
    def test_certificates_are_listed_in_order_of_expiry(self) -> None:
        store = CertificateStore()
        self.assertEqual(store.statuses(lambda _: ShownStaple("none")), [])
        soon = CA.leaf("b.example", end=DAY).plan("b.pem")
        store.apply(store.prepare(talk.proxy(talk.route(EXACT), certificates=(soon,), default="a.example")))
        first, second = store.statuses(lambda one: ShownStaple("failed", detail=one.name))
        self.assertEqual((first.names, first.source, first.kind), (("b.example",), "b.pem", "P256"))
        self.assertEqual((first.default, second.default), (False, True))
        self.assertEqual(first.ocsp.detail, "b.example")
