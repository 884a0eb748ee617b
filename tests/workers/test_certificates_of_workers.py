"""What the admin listener of a supervisor shows of certificates, and which workers order one by hand."""

from __future__ import annotations

from smartproxy.errors import UnknownCertificate
from smartproxy.model.certificate_status import ShownAcme, ShownCertificate, ShownStaple
from smartproxy.model.plan import AcmePlan, OnDemandPlan, ProxyPlan
from tests.workers.test_all_workers import AllWorkersCase


def shown(name: str, kind: str = "P256", *, on_demand: bool = False) -> ShownCertificate:
    acme = ShownAcme("issued", on_demand=on_demand)
    return ShownCertificate((name,), "acme", kind, 1.0, "", False, ShownStaple("none"), acme)


class RenewalTests(AllWorkersCase):
    def test_all_workers_renew(self):
        """The others would go on to show the former certificate, whose key may be stolen, until it is due."""
        renewed = []
        for proxy in (self.one, self.two):
            self.patch(
                proxy.service, "renew_certificate", lambda name: renewed.append(name) or ("b.test", name)
            )
        names = self.successResultOf(self.all.renew_certificate("a.test"))
        self.assertEqual((names, renewed), (("b.test", "a.test"), ["a.test"] * 2))

    def test_name_that_one_worker_knows_is_renewed(self):
        self.patch(self.two.service, "renew_certificate", lambda name: (name,))
        self.assertEqual(self.successResultOf(self.all.renew_certificate("a.test")), ("a.test",))

    def test_name_that_no_worker_knows_is_refused(self):
        self.failureResultOf(self.all.renew_certificate("a.test"), UnknownCertificate)


class ListTests(AllWorkersCase):
    def test_one_worker_is_asked(self):
        self.assertEqual(self.successResultOf(self.all.certificates()), [])
        self.assertEqual(self.asked("certificates"), [[1]])

    def test_those_on_demand_of_all_workers_are_listed_once(self):
        """Each worker knows the names that its own clients have asked for."""
        acme = AcmePlan("https://acme.test/dir", "store", on_demand=OnDemandPlan("http://127.0.0.1/ask"))
        self.patch(self.all, "_plan", lambda: ProxyPlan((), acme=acme))
        lists = {
            self.one: [shown("www.test"), shown("a.test", on_demand=True)],
            self.two: [
                shown("www.test"),
                shown("a.test", "RSA", on_demand=True),
                shown("b.test", on_demand=True),
            ],
        }
        for proxy, listed in lists.items():
            self.patch(proxy.service, "certificates", lambda listed=listed: listed)
        expected = [*lists[self.one], shown("b.test", on_demand=True)]
        self.assertEqual(self.successResultOf(self.all.certificates()), expected)
