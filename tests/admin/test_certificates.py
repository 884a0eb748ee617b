"""``/api/v1/certificates``: the list, and ordering an automatic certificate now."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.model.certificate_status import ShownAcme, ShownCertificate
from tests.admin.doubles import FakeControl, Listener

#: 2026-01-02 03:04:05.678 UTC.
AT, DATE = 1767323045.678, "2026-01-02T03:04:05.678Z"
ISSUED = ShownCertificate(
    ("a.example", "*.a.example", "xn--bcher-kva.example", "2001:db8::1"), "ACME", "P256", AT, "ab" * 32, False,
    acme=ShownAcme("failed", AT + 60, "dns: no TXT record", AT, 3, on_demand=True),
)  # fmt: skip
FILE = ShownCertificate(("b.example",), "b.pem", "RSA", AT - 1, "cd" * 32, True)
WAITING = ShownCertificate(("c.example",), "ACME", "", None, "", False, acme=ShownAcme("waiting", AT))


class CertificatesCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.control = FakeControl()
        self.control.shown = [ISSUED, FILE, WAITING]
        self.listener = Listener(self.control)


class ListTests(CertificatesCase):
    def test_certificates_not_issued_yet_come_first(self) -> None:
        """An operator looks for what is missing or expires next, in whatever order the proxy keeps them."""
        shown = self.listener.get("/api/v1/certificates").json()["certificates"]
        self.assertEqual([one["names"][0] for one in shown], ["c.example", "b.example", "a.example"])

    def test_an_automatic_certificate_has_what_acme_does_for_it(self) -> None:
        *_, shown = self.listener.get("/api/v1/certificates").json()["certificates"]
        self.assertEqual(shown["notAfter"], DATE)
        self.assertEqual(
            shown["acme"],
            {
                "state": "failed", "nextTry": "2026-01-02T03:05:05.678Z", "lastError": "dns: no TXT record",
                "lastErrorAt": DATE, "failures": 3, "onDemand": True,
            },
        )  # fmt: skip

    def test_a_certificate_from_a_file_has_no_acme(self) -> None:
        shown = self.listener.get("/api/v1/certificates").json()["certificates"][1]
        self.assertEqual((shown["source"], shown["acme"]), ("b.pem", None))

    def test_values_that_there_are_not_yet_are_null(self) -> None:
        shown, *_ = self.listener.get("/api/v1/certificates").json()["certificates"]
        self.assertEqual((shown["kind"], shown["notAfter"], shown["fingerprint"]), ("", None, None))
        self.assertEqual(
            shown["acme"],
            {
                "state": "waiting", "nextTry": DATE, "lastError": None, "lastErrorAt": None, "failures": 0,
                "onDemand": False,
            },
        )  # fmt: skip


class RenewTests(CertificatesCase):
    def renew(self, name: str) -> tuple[int, dict[str, object]]:
        answer = self.listener.ask("POST", f"/api/v1/certificates/{name}/renew")
        return answer.status, answer.json()

    def test_any_name_of_an_automatic_certificate_orders_it(self) -> None:
        """Clients encode a name differently, and people write it in upper case, in Unicode, or with a final dot."""
        for written, name in (
            ("a.example", "a.example"),
            ("A.Example.", "a.example"),
            ("*.a.example", "*.a.example"),
            ("%2A.a.example", "*.a.example"),
            ("b%C3%BCcher.example", "xn--bcher-kva.example"),
            ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
            ("2001%3ADB8%3A0%3A%3A1", "2001:db8::1"),
        ):
            reply = {"name": name, "names": list(ISSUED.names), "state": "ordering"}
            self.assertEqual(self.renew(written), (202, reply))
            self.assertEqual(self.control.renewed.pop(), name, written)

    def test_an_unknown_name_is_404(self) -> None:
        for written, name in (
            ("x.example", "'x.example'"),
            ("a..b", "'a..b'"),
            ("*", "'*'"),
            ("%1B", r"'\x1b'"),
        ):
            self.assertEqual(self.renew(written), (404, {"error": f"there is no certificate for {name}"}))

    def test_a_certificate_from_a_file_is_409(self) -> None:
        self.assertEqual(
            self.renew("b.example"), (409, {"error": "the certificate for 'b.example' is read from 'b.pem'"})
        )
        self.assertEqual(self.control.renewed, [])

    def test_an_empty_name_and_other_methods_are_refused(self) -> None:
        self.assertEqual(self.renew(""), (404, {"error": "there is nothing at this path"}))
        self.assertEqual(self.listener.get("/api/v1/certificates/a.example/renew").status, 405)
