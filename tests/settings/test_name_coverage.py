"""Warnings about names of a route for which there is no certificate."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.settings import Settings
from tests.settings.formats import folder
from tests.settings.test_likely_mistakes import TO_HOST, written
from tests.tls.made import Authority


class NameCoverageTests(SynchronousTestCase):
    """Domains of TLS-terminating routes that no certificate covers."""

    def setUp(self) -> None:
        self.folder = Path(folder(self))
        for name, names in {"a": ("a.example",), "wild": ("*.example.org",)}.items():
            leaf = Authority().leaf(*names)
            (self.folder / f"{name}.pem").write_bytes(leaf.pem + leaf.key_pem)

    def lines(self, domains: str, certificate: str = "{certFile: a.pem}", top: str = "") -> list[str]:
        action = f"{TO_HOST}, tls: {{mode: terminate, certificate: {certificate}}}"
        text = written(top=top, match=f"ports: 443, domains: [{domains}]", action=action)
        if not certificate:
            text = text.replace(", certificate: ", "")
        found = Settings.parse(text, "yaml", str(self.folder / "x.yaml")).warnings()
        return [line.partition(": ")[2] for line in found if "match.domains" in line]

    def test_a_domain_without_a_certificate_is_named(self) -> None:
        [line] = self.lines("a.example, b.example")
        self.assertTrue(
            line.startswith(
                "routes[0].match.domains[1]: is in no certificate of this route, which have a.example"
            ),
            line,
        )
        self.assertIn("unrecognized_name", line)

    def test_a_wildcard_certificate_covers_one_label(self) -> None:
        self.assertEqual(self.lines('www.example.org, "*.example.org"', "{certFile: wild.pem}"), [])
        self.assertEqual(len(self.lines("a.b.example.org, example.org", "{certFile: wild.pem}")), 2)

    def test_a_wildcard_domain_needs_a_certificate_below_it(self) -> None:
        self.assertEqual(self.lines('"*.example"'), [])
        self.assertEqual(len(self.lines('"*.example.net"')), 1)

    def test_certificates_of_the_directory_count(self) -> None:
        top = "tls: {certificates: .}"
        self.assertEqual(self.lines("a.example, www.example.org", "", top), [])
        self.assertEqual(len(self.lines("b.example", "", top)), 1)

    def test_what_is_always_served_causes_none(self) -> None:
        for certificate, top in (("selfSigned", ""), ("{certFile: a.pem}", "tls: {default: a.example}")):
            self.assertEqual(self.lines('b.example, "*"', certificate, top), [])
