"""What the logs say of connections whose TLS fails, with the client or with the target: the alert is named."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent

from smartproxy.wire import client_hello
from tests.sessions.tls_case import REQUEST, TlsTestCase
from tests.tls.made import DAY, Authority
from tests.tls.talk import client

ALERTS = {
    "certificate required": "certificate_required",
    "unknown ca": "unknown_ca",
    "certificate expired": "certificate_expired",
    "internal error": "internal_error",
    "handshake failure": "handshake_failure",
}


def never(_name):
    """A program that has not decided yet whether a name may be ordered."""
    return Deferred()


class ExplainedTlsCase(TlsTestCase):
    def begin(self, *routes, **more):
        """Start a proxy whose access log is read by :meth:`explained`."""
        self.log = Path(self.mktemp())
        self.start(*routes, accessLog={"path": str(self.log.absolute())}, **more)

    def explained(self, act):
        """The access log's line of the last connection, and the lines of the log that say that it was refused."""
        with capturedLogs() as logged:
            act()
            self.settle()
            self.proxy.registry.ended.empty()
            self.proxy._runtime.accounting.access_log.flush()
        lines = [formatEvent(event) for event in logged if "refused 1 connection" in str(formatEvent(event))]
        return json.loads(self.log.read_text(encoding="ascii").splitlines()[-1]), lines

    def assert_explained(self, act, detail, *, side, target=None, attempts=0, name="a.example"):
        entry, lines = self.explained(act)
        self.assertEqual(
            {key: entry[key] for key in ("outcome", "side", "detail", "route", "target", "attempts", "sni")},
            {
                "outcome": "tls_error", "side": side, "detail": detail, "route": "web", "target": target,
                "attempts": attempts, "sni": name,
            },
        )  # fmt: skip
        known = f"listener :443{'' if name is None else f', name {name}'}, route web"
        if target is not None:
            known += f", target {target}, {attempts} attempt"
        self.assertEqual(lines, [f"refused 1 connection: tls_error (192.0.2.1): {known}: {detail}"])


class WithClientsTests(ExplainedTlsCase):
    def terminating(self, **tls):
        return self.route(tls={"mode": "terminate", "certificate": self.certificate} | tls)

    def hello_only(self):
        """A client that sends its ClientHello and nothing more."""
        below, connection = self.network.connect(443), client(self.authority)
        with contextlib.suppress(SSL.WantReadError):
            connection.do_handshake()
        below.write(connection.bio_read(1 << 16))
        self.settle()
        return below

    def test_name_without_a_certificate(self):
        self.begin(self.terminating())
        self.assert_explained(
            lambda: self.connect("b.example"),
            "no certificate for b.example; sent alert unrecognized_name",
            side="proxy",
            name="b.example",
        )

    def test_version_that_is_not_supported(self):
        self.begin(self.terminating(minVersion="1.3"))
        self.assert_explained(
            lambda: self.connect(most=SSL.TLS1_2_VERSION),
            "unsupported protocol; sent alert protocol_version",
            side="proxy",
        )

    def test_client_that_does_not_trust_the_certificate(self):
        self.begin(self.terminating())
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            self.authority = Authority("another")
            entry, lines = self.explained(lambda version=version: self.connect(most=version))
            self.assertEqual((entry["outcome"], entry["side"]), ("tls_error", "client"))
            self.assertRegex(entry["detail"], r"alert unknown ca; received alert unknown_ca\Z")
        self.assertEqual(len(lines), 0)  # the second within five seconds is counted

    def test_client_that_disconnects_during_the_handshake(self):
        def act():
            self.hello_only().fin()

        self.begin(self.terminating())
        self.assert_explained(act, "the peer disconnected during the handshake", side="client")

    def test_handshake_that_takes_too_long(self):
        def act():
            self.hello_only()
            self.network.run(2.5)

        self.begin(self.terminating(), tlsHandshakeTimeout="2s")
        self.assert_explained(act, "the handshake took too long (tlsHandshakeTimeout 2 s)", side="proxy")

    def test_certificate_on_demand_that_takes_too_long(self):
        """No callable is configured here: the client has waited for an order, and may try again."""

        def act():
            self.hello_only()
            self.network.run(2.5)

        acme = {
            "directory": "https://127.0.0.1:1/dir",
            "store": self.mktemp(),
            "onDemand": {"ask": f"{__name__}:never"},
        }
        route = self.route(tls={"mode": "terminate", "certificate": "auto"})
        self.begin(route, acme=acme, tlsHandshakeTimeout="2s")
        self.assert_explained(
            act,
            "the wait for the certificate of a.example (acme.onDemand) took too long (tlsHandshakeTimeout 2 s); "
            "sent alert unrecognized_name",
            side="proxy",
        )

    def test_plain_bytes_where_tls_is_due(self):
        self.begin(self.terminating())
        entry, lines = self.explained(lambda: self.network.connect(443).write(REQUEST))
        self.assertEqual(
            (entry["detail"], entry["host"], entry["path"]),
            ("plain bytes where TLS was due; answered 400", "a.example", "/api"),
        )
        self.assertEqual(len(lines), 1)
        self.assertIn(": listener :443, name a.example, route web: plain bytes", lines[0])

    def test_alert_about_a_client_certificate_is_the_one_that_the_client_gets(self):
        """In TLS 1.3 the alert is encrypted, so the proxy has to know which one OpenSSL sends."""
        stranger = Authority("stranger").leaf("robot", client=True)
        cases = (
            (None, {}, "peer did not return a certificate"),
            (stranger, {}, "certificate of the client: its issuer is unknown"),
            (self.authority.leaf("robot", start=-2 * DAY, end=-DAY, client=True), {}, "certificate of the client: it has expired"),
            (self.authority.leaf("robot", client=True), {"match": ["CN:other"]},
             "certificate of the client: has none of the names in clientAuth.match"),
        )  # fmt: skip
        for certificate, more, why in cases:
            for most in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
                with self.subTest(why, most=most):
                    self.begin(self.terminating(clientAuth={"mode": "require", "ca": self.ca} | more))
                    ends = []
                    act = lambda: ends.append(self.connect(certificate=certificate, most=most))  # noqa: B023, E731 - called at once
                    entry, _ = self.explained(act)
                    received = ends[0].problem.args[0][0][2].partition(" alert ")[2]
                    self.assertEqual(entry["detail"], f"{why}; sent alert {ALERTS[received]}")
                    self.assertEqual(entry["side"], "proxy")
                    self.network.stop(self.proxy)

    def test_route_that_the_request_would_have_chosen_is_named(self):
        """Nothing matches what is inside TLS: the route whose TLS it was is named, though it did not admit the client."""
        self.begin(self.route(match={"domains": ["a.example"], "path": "/other"}))

        def act():
            end = self.connect()
            end.write(REQUEST)

        entry, lines = self.explained(act)
        self.assertEqual(
            (entry["outcome"], entry["detail"]),
            ("no_route", "no route matches what is inside TLS, protocol http; answered 404"),
        )
        self.assertEqual((entry["route"], entry["path"], entry["sni"]), ("web", "/api", "a.example"))
        self.assertEqual(len(lines), 1)


class WithTargetsTests(ExplainedTlsCase):
    def originating(self, **upstream):
        upstream = {"ca": self.ca, "serverName": "b.example"} | upstream
        return self.route(
            tls={"mode": "passthrough"}, target={"tls": upstream}, match={"domains": ["a.example"]}
        )

    def dialed(self, *names):
        """A client of the route, whose target has a certificate for ``names``."""

        def act():
            self.network.connect(443).write(client_hello.build("a.example"))
            self.settle()
            self.target(*names)

        return act

    def test_certificate_for_another_name(self):
        self.begin(self.originating())
        self.assert_explained(
            self.dialed("c.example"),
            "TLS with b.example: certificate of the target: is not for b.example; sent alert internal_error",
            side="target",
            target="10.0.0.1:9000",
            attempts=1,
        )

    def test_certificate_of_an_unknown_issuer(self):
        stranger = Path(self.mktemp())
        stranger.write_bytes(Authority("stranger").pem)
        self.begin(self.originating(ca=str(stranger.absolute())))
        self.assert_explained(
            self.dialed("b.example"),
            "TLS with b.example: certificate of the target: its issuer is unknown; sent alert unknown_ca; "
            "sent alert internal_error",
            side="target",
            target="10.0.0.1:9000",
            attempts=1,
        )

    def test_target_without_tls(self):
        def act():
            self.network.connect(443).write(client_hello.build("a.example"))
            self.settle()
            self.backend.connections[-1].write(b"220 hello, this is no TLS\r\n")

        self.begin(self.originating())
        entry, _ = self.explained(act)
        self.assertRegex(entry["detail"], r"\ATLS with b.example: wrong version number")
        self.assertEqual((entry["side"], entry["target"]), ("target", "10.0.0.1:9000"))


class AfterTheHandshakeTests(ExplainedTlsCase):
    def test_client_that_ends_without_close_notify(self):
        self.begin()
        end = self.connect()
        end.write(b"ask")
        self.settle()
        entry, lines = self.explained(end.below.fin)
        self.assertEqual(
            (entry["outcome"], entry["side"], entry["detail"]),
            ("client_reset", "client", "its TLS ended without close_notify"),
        )
        self.assertEqual((entry["tlsVersion"], lines), ("TLSv1.3", []))

    def test_client_that_sends_what_is_not_tls(self):
        self.begin()
        end = self.connect()
        entry, _ = self.explained(lambda: end.below.write(b"this is no TLS record at all"))
        self.assertEqual((entry["outcome"], entry["side"]), ("client_reset", "client"))
        self.assertRegex(entry["detail"], r"\Aits TLS failed: \w")
