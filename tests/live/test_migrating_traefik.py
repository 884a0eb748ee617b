"""The pages of ``docs/migrating/traefik.rst``: ours, with clients that expect what Traefik documents."""

from __future__ import annotations

from collections import Counter

from smartproxy.wire import proxy_v2
from tests.live.certificates import Authority
from tests.live.migrating import REFUSED, MigrationCase, folder, pair

OFFICE = "127.0.0.9"


class TraefikMigrationTests(MigrationCase):
    def test_tls_by_name_and_ssh_beside_it(self):
        _, configuration = pair("traefik", "TLS by name, and ssh beside it")
        greeting = b"SSH-2.0-server\r\n"
        targets = {
            ("10.1.0.11", 8443): self.named("old", header=True, tls="old.test"),
            ("10.1.0.12", 8443): self.named("new", header=True, tls="new.test"),
            ("10.1.0.31", 443): self.named("web", tls="web.test"),
            ("10.1.0.41", 22): self.named("git", greeting=greeting),
        }
        ports = {port: self.port() for port in (443, 2222)}
        changes = {"192.0.2.0/24": f"{OFFICE}/32", "10.0.0.0/24": "127.0.0.10"}
        self.ours(configuration, ports, targets, changes)
        turns = Counter(self.over_tls("a.shop.example.com")(ports[443])[0] for _ in range(8))
        self.assertEqual(turns, {"old.test": 6, "new.test": 2})
        for name in ("other.example", None):
            self.assertEqual(self.over_tls(name)(ports[443]), ("web.test", b"web:words"))
        self.assertEqual(self.over_plain(b"no TLS\r\n")(ports[443]), REFUSED)
        self.assertEqual(self.at_once(3, source=OFFICE)(ports[2222]), [greeting] * 2 + [REFUSED])
        self.assertEqual(self.over_plain(b"", source="127.0.0.66")(ports[2222]), REFUSED)
        header = proxy_v2.build(("198.51.100.7", 1), ("192.0.2.1", 443))
        announced = self.over_tls("shop.example.com", header=header, source="127.0.0.10")(ports[443])
        self.assertIn(announced[0], ("old.test", "new.test"))
        seen = [header.source[0] for backend in targets.values() for header in backend.seen]
        self.assertEqual(seen.count("198.51.100.7"), 1)

    def test_tls_is_terminated_with_client_certificates(self):
        _, configuration = pair("traefik", "TLS terminated, with client certificates")
        clients = Authority(folder(self, "clients"))
        shop = self.authority.certificate("shop.example.com")
        targets = {
            ("10.5.0.11", 1883): self.named("mqtt"),
            ("10.3.0.11", 993): self.named("imap", tls="imap.internal"),
        }
        ports = {port: self.port() for port in (8883, 993)}
        files = {
            "shop-rsa.pem": shop,
            "shop-rsa.key": shop,
            "clients-ca.pem": clients.file,
            "targets-ca.pem": self.authority.file,
        }
        self.ours(configuration, ports, targets, files)
        device = clients.certificate("device")
        answers = ("shop.example.com", b"mqtt:words")
        self.assertEqual(self.over_tls("shop.example.com", certificate=device)(ports[8883]), answers)
        self.assertEqual(self.over_tls("shop.example.com")(ports[8883]), REFUSED)
        self.assertEqual(self.over_tls("other.example", certificate=device)(ports[8883]), REFUSED)
        for name in ("shop.example.com", "other.example"):
            self.assertEqual(self.over_tls(name)(ports[993]), ("shop.example.com", b"imap:words"))
