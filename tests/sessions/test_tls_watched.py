"""Authorities, revocation lists and certificates for targets that change on disk: in force without a reload."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from types import SimpleNamespace

from OpenSSL import SSL
from twisted.logger import capturedLogs, formatEvent

from smartproxy.files.watch import POLL_INTERVAL, SETTLE_TIME
from smartproxy.settings.compile import certificates
from tests.sessions.tls_case import TlsTestCase
from tests.tls.made import DAY, Authority
from tests.tls.talk import client


class WatchedTests(TlsTestCase):
    def setUp(self):
        super().setUp()
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def write(self, name: str, content: bytes) -> str:
        """Replace a file as tools do: write another one, then rename it."""
        path = self.folder / name
        beside = path.with_suffix(".new")
        beside.write_bytes(content)
        beside.replace(path)
        return str(path)

    def changed(self, name: str, content: bytes) -> list[str]:
        """The lines that are logged when a file has changed."""
        self.write(name, content)
        with capturedLogs() as logged:
            self.network.run(POLL_INTERVAL + 3 * SETTLE_TIME)
        return [formatEvent(event) for event in logged]

    def reloads(self):
        counted = self.proxy.counters.certificate_reloads
        return counted["ok"], counted["failed"]

    def begin_client_auth(self):
        auth = {
            "mode": "require",
            "ca": self.write("clients.pem", self.authority.pem),
            "crl": self.write("crl.pem", self.authority.crl()),
        }
        self.start(self.route(tls={"mode": "terminate", "certificate": self.certificate, "clientAuth": auth}))

    def is_accepted(self, leaf) -> bool:
        """Whether a client with this certificate reaches the target."""
        before = len(self.backend.connections)
        end = self.within(self.network.connect(443), client(self.authority, "a.example", certificate=leaf))
        self.settle()
        end.below.close()
        self.settle()
        return len(self.backend.connections) > before

    def begin_target(self, **upstream):
        target = {"tls": {"serverName": "b.example", **upstream}}
        self.start(self.route(tls={"mode": "passthrough"}, target=target))

    def is_trusted(self, authority, **options) -> bool:
        """Whether a target with a certificate of ``authority`` gets the client's bytes."""
        below = self.network.connect(443)
        below.write(b"ask")
        self.settle()
        end = self.accept(authority, **options)
        self.settle()
        below.close()
        self.settle()
        return end.received == b"ask"

    def accept(self, authority, clients=None):
        leaf = authority.leaf("b.example")
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate(leaf.certificate)
        context.use_privatekey(leaf.key)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        if clients is not None:
            context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
        connection = SSL.Connection(context, None)
        connection.set_accept_state()
        self.accepted = connection
        return self.within(self.backend.connections[-1], connection)

    def test_new_revocation_list_is_in_force(self):
        self.begin_client_auth()
        robot = self.authority.leaf("robot", client=True)
        self.assertTrue(self.is_accepted(robot))
        lines = self.changed("crl.pem", self.authority.crl(robot))
        self.assertFalse(self.is_accepted(robot))
        self.assertEqual(self.reloads(), (1, 0))
        self.assertIn(f"certificate renewed: {self.folder}/crl.pem", lines)

    def test_it_counts_as_no_reload(self):
        """An alert on the last reload must not fire for a file that is half written."""
        self.begin_client_auth()
        self.changed("crl.pem", self.authority.crl())
        self.changed("crl.pem", b"nonsense")
        self.assertEqual(self.reloads(), (1, 1))
        self.assertEqual(self.proxy.counters.config_reloads, {"ok": 0, "failed": 0})
        self.assertTrue(self.proxy.counters.config_reload_ok)

    def test_new_authority_of_clients_is_in_force(self):
        auth = {"mode": "require", "ca": self.write("clients.pem", self.authority.pem)}
        self.start(self.route(tls={"mode": "terminate", "certificate": self.certificate, "clientAuth": auth}))
        other = Authority("other")
        robot = other.leaf("robot", client=True)
        self.assertFalse(self.is_accepted(robot))
        self.changed("clients.pem", self.authority.pem + other.pem)
        self.assertTrue(self.is_accepted(robot))

    def test_new_authority_of_targets_is_in_force(self):
        other = Authority("other")
        self.begin_target(ca=self.write("ca.pem", self.authority.pem))
        self.assertEqual([self.is_trusted(one) for one in (self.authority, other)], [True, False])
        self.changed("ca.pem", other.pem)
        self.assertEqual([self.is_trusted(one) for one in (self.authority, other)], [False, True])

    def test_new_certificate_towards_targets_is_shown(self):
        old, new = (self.authority.leaf(name, client=True) for name in ("old", "new"))
        own = self.write("own.pem", old.pem + old.key_pem)
        self.begin_target(ca=self.ca, certFile=own)
        shown = []
        for _ in range(2):
            self.assertTrue(self.is_trusted(self.authority, clients=self.authority))
            shown.append(self.accepted.get_peer_certificate(as_cryptography=True))
            self.changed("own.pem", new.pem + new.key_pem)
        self.assertEqual(shown, [old.certificate, new.certificate])

    def test_file_that_cannot_be_used_changes_nothing(self):
        """It is logged and counted, and the next change is applied."""
        self.begin_client_auth()
        robot = self.authority.leaf("robot", client=True)
        lines = self.changed("crl.pem", b"nothing")
        self.assertTrue(self.is_accepted(robot))
        self.assertEqual(self.reloads(), (0, 1))
        [line] = [line for line in lines if "not renewed" in line]
        self.assertIn(f"{self.folder}/crl.pem: contains no PEM revocation list", line)
        self.changed("crl.pem", self.authority.crl(robot))
        self.assertFalse(self.is_accepted(robot))
        self.assertEqual(self.reloads(), (1, 1))

    def begin_with_files(self):
        """The certificate of the route is in files, too."""
        leaf = self.authority.leaf("a.example")
        pair = {"certFile": self.write("a.pem", leaf.pem), "keyFile": self.write("a.key", leaf.key_pem)}
        self._certificate = pair
        self.begin_client_auth()

    def test_list_that_came_with_half_a_pair_is_in_force_with_the_other_half(self):
        """A key, a list and, later, the certificate of the key are replaced: the list must not wait for its next change."""
        self.begin_with_files()
        robot, new = self.authority.leaf("robot", client=True), self.authority.leaf("a.example", kind="p384")
        self.write("a.key", new.key_pem)
        self.changed("crl.pem", self.authority.crl(robot))
        self.changed("a.pem", new.pem)
        self.assertFalse(self.is_accepted(robot))

    def begin_with_two_authorities(self):
        """Two routes, each with an authority of its own for its clients. The list of the second one expires first."""
        self.partner = Authority("partner")
        self.routes = []
        for number, (authority, days) in enumerate(((self.authority, 7), (self.partner, 2))):
            auth = {
                "mode": "require",
                "ca": self.write(f"clients-{number}.pem", authority.pem),
                "crl": self.write(f"crl-{number}.pem", authority.crl(end=days * DAY)),
            }
            name = f"{'ab'[number]}.example"
            tls = {"mode": "terminate", "certificate": self.pem(name), "clientAuth": auth}
            self.routes.append(self.route(name, match={"domains": [name]}, tls=tls))
        self.start(*self.routes)

    def pass_days(self, days):
        class Later(dt.datetime):
            @classmethod
            def now(cls, tz=None):
                return dt.datetime.now(tz) + days * DAY

        self.patch(certificates, "dt", SimpleNamespace(datetime=Later, UTC=dt.UTC))

    def test_expired_list_of_another_route_holds_up_no_new_list(self):
        """It would expire, too, and then no client of any route with client certificates would be accepted."""
        self.begin_with_two_authorities()
        robot = self.authority.leaf("robot", client=True)
        self.assertTrue(self.is_accepted(robot))
        self.pass_days(3)
        self.changed("crl-0.pem", self.authority.crl(robot))
        self.assertEqual(self.reloads(), (1, 0))
        self.assertFalse(self.is_accepted(robot))

    def test_list_that_has_expired_meanwhile_prevents_no_reload(self):
        """Its clients are refused with or without the reload, as with a certificate that has expired meanwhile."""
        self.begin_with_two_authorities()
        self.pass_days(3)
        more = self.route("more", match={"ports": 444})
        self.network.result(self.proxy.update_routes([*self.routes, more]))
        self.assertEqual(len(self.proxy.plan.routes), 3)

    def test_list_that_is_expired_when_it_is_replaced_is_refused(self):
        self.begin_with_two_authorities()
        lines = self.changed("crl-0.pem", self.authority.crl(end=-DAY))
        self.assertEqual(self.reloads(), (0, 1))
        self.assertIn("expired on", "".join(lines))

    def test_live_connections_and_other_routes_go_on(self):
        self.begin_client_auth()
        robot = self.authority.leaf("robot", client=True)
        end = self.within(self.network.connect(443), client(self.authority, "a.example", certificate=robot))
        self.settle()
        self.changed("crl.pem", self.authority.crl(robot))
        end.write(b"still here")
        self.settle()
        self.assertEqual(self.backend.connections[-1].received, b"still here")

    def test_routes_that_were_updated_are_compiled_again(self):
        """And not those of the file that the proxy was started with."""
        self.begin_client_auth()
        auth = {"mode": "require", "ca": str(self.folder / "clients.pem")}
        tls = {"mode": "terminate", "certificate": self.certificate, "clientAuth": auth}
        self.network.result(self.proxy.update_routes([self.route("updated", tls=tls)]))
        other = Authority("other")
        self.changed("clients.pem", other.pem)
        self.assertTrue(self.is_accepted(other.leaf("robot", client=True)))
        self.assertEqual([route.name for route in self.proxy.plan.routes], ["updated"])
