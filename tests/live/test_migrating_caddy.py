"""The pages of ``docs/migrating/caddy.rst``: Debian's Caddy has no layer 4 module, so that section runs with ours only."""

from __future__ import annotations

import os
import re

from tests.live.backends import over_tls, page
from tests.live.certificates import Authority
from tests.live.migrating import REFUSED, MigrationCase, folder, pair, replaced
from tests.live.programs import needed
from tests.live.terminating import in_order

_GLOBAL = """\
{
    admin off
    auto_https off
    default_bind 127.0.0.1
    http_port HTTP
    https_port HTTPS
}
"""
ALLOWED, BLOCKED = "127.0.0.9", "127.0.0.66"


class CaddySitesTests(MigrationCase):
    """Sites: HTTP within TLS that is terminated, redirects, fixed answers."""

    def setUp(self):
        super().setUp()
        clients = Authority(folder(self, "clients"))
        self.robot = clients.certificate("robot")
        shop = self.authority.certificate("shop.example.com")
        account = self.authority.certificate("account.example.com")
        self.stranger = self.authority.certificate("stranger")
        self.files = {
            "shop-rsa.pem": shop,
            "shop-rsa.key": shop,
            "certificates/account.example.com/leaf.pem": account,
            "certificates/account.example.com/leaf.key": account,
            "clients-ca.pem": clients.file,
            "targets-ca.pem": self.authority.file,
        }
        self.targets = {
            ("10.1.0.11", 8080): self.backend(page("shop")),
            ("10.1.0.21", 8443): self.backend(
                over_tls(self.authority.server("account.internal"), in_order(page("account")))
            ),
        }

    def started(self):
        """Caddy and ours; the ports of each by the port on the page."""
        program = needed("caddy")
        original, configuration = pair("caddy", "Sites with their own certificates")
        at_theirs, at_ours = ({port: self.port() for port in (80, 443)} for _ in range(2))
        blocked = {"203.0.113.0/24": f"{BLOCKED}/32"}
        written = {f"{host}:{port}": f"127.0.0.1:{to.port}" for (host, port), to in self.targets.items()}
        written |= {f"/etc/caddy/{name}": path for name, path in self.files.items()}
        ports = {
            "http_port HTTP": f"http_port {at_theirs[80]}",
            "https_port HTTPS": f"https_port {at_theirs[443]}",
        }
        caddyfile = replaced(_GLOBAL, ports) + replaced(original, {**written, **blocked})
        file = self.file("Caddyfile", caddyfile)
        environment = {**os.environ, "HOME": str(self.directory), "XDG_DATA_HOME": str(self.directory)}
        running = self.program(program, "run", "--adapter", "caddyfile", "--config", file, env=environment)
        for port in at_theirs.values():
            running.listens(port)
        self.ours(configuration, at_ours, self.targets, {**self.files, **blocked})
        return at_theirs, at_ours

    def test_sites_answer_alike(self):
        at_theirs, at_ours = self.started()
        shop, account = "shop.example.com", "account.example.com"
        self.same(
            at_theirs[443],
            at_ours[443],
            {
                "site": (self.getting(shop), (shop, 200, None, "shop")),
                "blocked": (self.getting(shop, source=BLOCKED), REFUSED),
                "a name without a site": (self.getting("other.example"), REFUSED),
                "with a client certificate": (
                    self.getting(account, certificate=self.robot), (account, 200, None, "account")
                ),
                "without": (self.getting(account), REFUSED),
                "of another authority": (self.getting(account, certificate=self.stranger), REFUSED),
                "plain HTTP": (lambda port: self.fetch(port, shop)[0], 400),
            },
        )  # fmt: skip
        self.same(
            at_theirs[80],
            at_ours[80],
            {
                "redirect": (
                    lambda port: self.fetch(port, shop, "/a/b?c=d"), (308, "https://shop.example.com/a/b?c=d", "")
                ),
                "fixed answer": (lambda port: self.fetch(port, "status.example.com"), (200, None, "all is well")),
            },
        )  # fmt: skip

    def getting(self, name, source=None, certificate=None):
        """A client that requests the page of a site; the name in the certificate, status, location and body."""

        def act(port):
            asked = self.over_tls(name, request(name, "/"), certificate=certificate, source=source)(port)
            return asked if asked is REFUSED else (asked[0], *answered(asked[1]))

        return act

    def fetch(self, port, name, target="/"):
        """Status, location and body of an answer over plain HTTP."""
        return answered(self.over_plain(request(name, target))(port))


class CaddyLayerFourTests(MigrationCase):
    """Ours, with clients that expect what the layer 4 module documents."""

    def test_clients_get_what_the_module_documents(self):
        _, configuration = pair("caddy", "The layer 4 module")
        targets = {
            ("10.1.0.11", 8443): self.named("shop", header=True, tls="shop.test"),
            ("10.1.0.21", 443): self.named("git", tls="git.test"),
            ("10.1.0.41", 22): self.named("ssh"),
            ("10.6.0.11", 6667): self.named("irc", header=True),
        }
        ports = {port: self.port() for port in (443, 6697)}
        shop = self.authority.certificate("shop.example.com")
        changes = {"192.0.2.0/24": f"{ALLOWED}/32", "shop-rsa.pem": shop, "shop-rsa.key": shop}
        self.ours(configuration, ports, targets, changes)
        answers = ("shop.test", b"shop:words")
        for name in ("shop.example.com", "a.shop.example.com"):
            self.assertEqual(
                self.announces(self.over_tls(name), targets["10.1.0.11", 8443])(ports[443]),
                (2, "127.0.0.1", "front", answers),
            )
        self.assertEqual(self.over_tls("git.example.com")(ports[443]), ("git.test", b"git:words"))
        self.assertEqual(self.over_tls("other.example")(ports[443]), REFUSED)
        self.assertEqual(self.over_plain(b"SSH-2.0-x\r\n")(ports[443]), b"ssh:SSH-2.0-x\r\n")
        irc = self.over_tls("irc.example.com", b"NICK a\r\n", source=ALLOWED)
        self.assertEqual(irc(ports[6697]), ("shop.example.com", b"irc:NICK a\r\n"))
        self.assertEqual(self.over_tls("irc.example.com", source=BLOCKED)(ports[6697]), REFUSED)


def request(name, target):
    """A request for ``target`` that ends the connection."""
    return f"GET {target} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode()


def answered(response):
    """Status, location and body of a response in one piece."""
    head, _, body = response.decode().partition("\r\n\r\n")
    location = re.search(r"^location: (.*)$", head, re.IGNORECASE | re.MULTILINE)
    return int(head.split()[1]), location and location[1].strip(), body
