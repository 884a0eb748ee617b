"""Pending challenges of ACME are answered before any route; others go on to the routes."""

from __future__ import annotations

from typing import Any

from cryptography import x509
from OpenSSL import SSL
from twisted.internet.defer import Deferred

from smartproxy.acme.interfaces import Challenge
from smartproxy.model.plan import ChallengeType
from tests.sessions.tls_case import TlsTestCase
from tests.tls.talk import client

TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
HTTP, TLS = ChallengeType.HTTP_01, ChallengeType.TLS_ALPN_01
ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")


def redirect(port: int = 80, **more: Any) -> dict[str, Any]:
    action = {"type": "redirect", "to": "https://{host}{path}"}
    return {"name": f"redirect-{port}", "match": {"ports": port}, "action": action, **more}


class AcmeTestCase(TlsTestCase):
    def begin(
        self, *routes: Any, name: str = "a.example", gracefulShutdownTimeout: str = "30s", **acme: Any
    ) -> None:
        """A proxy with an automatic certificate for ``name``, whose directory cannot be reached."""
        automatic = self.route(
            "automatic",
            match={"ports": 443, "domains": [name]},
            tls={"mode": "terminate", "certificate": "auto"},
        )
        if hasattr(self, "proxy"):
            self.network.stop(self.proxy)
        terms = {"directory": "https://127.0.0.1:1/dir", "store": self.mktemp(), **acme}
        self.start(*routes, automatic, acme=terms, gracefulShutdownTimeout=gracefulShutdownTimeout)

    def pend(self, kind: ChallengeType, name: str = "a.example") -> Challenge:
        challenge = Challenge(kind, name, TOKEN, f"{TOKEN}.thumbprint")
        answers = self.proxy._runtime.tls.acme.answers
        self.successResultOf(Deferred.fromCoroutine(answers.present(challenge)))
        return challenge

    def end(self, challenge: Challenge) -> None:
        answers = self.proxy._runtime.tls.acme.answers
        self.successResultOf(Deferred.fromCoroutine(answers.cleanup(challenge)))


class HttpTests(AcmeTestCase):
    def ask(self, token: str = TOKEN, port: int = 80, host: str = "a.example") -> bytes:
        """The whole answer to a request for a token."""
        end = self.network.connect(port)
        end.write(
            f"GET /.well-known/acme-challenge/{token} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        )
        self.network.settle()
        return bytes(end.received)

    def test_pending_token_is_answered_before_a_redirect(self) -> None:
        self.begin(redirect())
        challenge = self.pend(HTTP)
        answer = self.ask()
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 OK\r\n"), answer)
        self.assertTrue(answer.endswith(f"\r\n\r\n{TOKEN}.thumbprint".encode()), answer)
        self.end(challenge)
        self.assertIn(b" 308 ", self.ask())

    def test_it_is_answered_before_a_block_and_whatever_the_host_is(self) -> None:
        block = {"name": "block", "match": {"ports": 80}, "action": {"type": "block"}}
        lists = {"security": {"ipBlockList": ["0.0.0.0/0", "::/0"]}}
        for route in (block, redirect() | lists):
            self.begin(route)
            self.pend(HTTP)
            for host in ("a.example", "other.example", "192.0.2.1"):
                self.assertIn(b"200 OK", self.ask(host=host))

    def test_it_is_answered_on_a_port_that_forwards_bytes(self) -> None:
        forward = self.route("tcp", match={"ports": 80}, tls={"mode": "passthrough"})
        self.begin(forward)
        self.pend(HTTP)
        self.assertIn(b"200 OK", self.ask())
        self.ask("unknown")
        self.assertIn(b"acme-challenge/unknown", self.backend.connections[-1].received)

    def test_each_request_of_a_connection_is_looked_at(self) -> None:
        self.begin(redirect())
        self.pend(HTTP)
        end = self.network.connect(80)
        end.write(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
        self.network.settle()
        self.assertIn(b" 308 ", bytes(end.received))
        end.write(f"GET /.well-known/acme-challenge/{TOKEN} HTTP/1.1\r\nHost: a.example\r\n\r\n".encode())
        self.network.settle()
        self.assertIn(f"{TOKEN}.thumbprint".encode(), bytes(end.received))

    def test_other_tokens_go_to_the_route_or_are_404(self) -> None:
        self.begin(redirect())
        self.pend(HTTP)
        for token in ("other", TOKEN + "x", "", "../" + TOKEN, TOKEN + "/"):
            self.assertIn(b" 308 ", self.ask(token), token)
        self.begin(redirect(match={"ports": 80, "domains": ["other.example"]}))
        self.assertIn(b" 404 ", self.ask("other"))

    def test_only_the_port_of_the_configuration_answers(self) -> None:
        self.begin(redirect(), redirect(8080), httpPort=8080)
        self.pend(HTTP)
        self.assertIn(b" 308 ", self.ask())
        self.assertIn(b" 200 ", self.ask(port=8080))

    def test_proxy_listens_itself_where_no_route_does(self) -> None:
        self.begin(challenge="http-01")
        self.pend(HTTP)
        self.assertIn(b" 200 ", self.ask())
        self.assertIn(b" 404 ", self.ask("other"))

    def test_challenge_of_another_process_on_the_store_is_answered(self) -> None:
        self.begin(redirect())
        self.pend(HTTP)
        self.proxy._runtime.tls.acme.answers._http.clear()
        self.assertIn(f"{TOKEN}.thumbprint".encode(), self.ask())


class TlsAlpnTests(AcmeTestCase):
    def ask(self, name: str = "a.example", alpn: tuple[bytes, ...] = (b"acme-tls/1",)) -> Any:
        """The TLS end of an authority, which accepts any certificate."""
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_alpn_protos(list(alpn))
        end = self.within(self.network.connect(443), client(None, name, context=context))
        self.settle()
        return end

    def test_authority_is_shown_the_digest_for_its_name(self) -> None:
        self.begin()
        challenge = self.pend(TLS)
        end = self.ask()
        self.assertTrue(end.shaken)
        self.assertEqual(end.connection.get_alpn_proto_negotiated(), b"acme-tls/1")
        shown = end.connection.get_peer_certificate().to_cryptography()
        extension = shown.extensions.get_extension_for_oid(ACME_IDENTIFIER)
        self.assertTrue(extension.critical)
        self.assertEqual(extension.value.value, b"\x04\x20" + challenge.digest)
        names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual([name.value for name in names], ["a.example"])

    def test_connection_is_closed_after_the_handshake(self) -> None:
        self.begin()
        self.pend(TLS)
        end = self.ask()
        self.assertTrue(end.ended)
        end.close()
        self.settle()
        self.assertEqual((self.proxy.registry.active, self.backend.connections), (0, []))

    def test_address_is_asked_for_by_its_reverse_name(self) -> None:
        """RFC 8738, 6."""
        self.begin(name="192.0.2.1")
        self.pend(TLS, "192.0.2.1")
        shown = self.ask("1.2.0.192.in-addr.arpa").connection.get_peer_certificate().to_cryptography()
        names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual([str(name.value) for name in names], ["192.0.2.1"])

    def test_without_a_challenge_it_is_refused(self) -> None:
        self.begin()
        challenge = self.pend(TLS)
        self.end(challenge)
        end = self.ask()
        self.assertFalse(end.shaken)
        self.assertEqual(self.rejected(), {"tls_error": 1})

    def test_client_that_offers_more_is_an_ordinary_one(self) -> None:
        self.begin()
        self.pend(TLS)
        self.assertFalse(self.ask(alpn=(b"acme-tls/1", b"http/1.1")).shaken)

    def test_it_comes_before_a_route_that_passes_tls_through(self) -> None:
        passing = self.route("pass", match={"ports": 443, "path": None}, tls={"mode": "passthrough"})
        passing["match"].pop("path")
        self.begin(passing)
        self.pend(TLS)
        self.assertTrue(self.ask().shaken)
        self.assertFalse(self.ask("other.example").shaken)
        self.assertEqual(len(self.backend.connections), 1, "its backend may have challenges of its own")

    def test_challenge_of_another_process_on_the_store_is_answered(self) -> None:
        self.begin()
        self.pend(TLS)
        self.proxy._runtime.tls.acme.answers._tls.clear()
        self.assertTrue(self.ask().shaken)


class UntilTests(AcmeTestCase):
    def test_client_is_refused_with_the_reason(self) -> None:
        self.begin()
        self.assertFalse(self.connect().shaken)
        self.assertEqual(self.rejected(), {"tls_error": 1})

    def test_client_gets_a_temporary_certificate_where_that_is_configured(self) -> None:
        self.begin(until="selfSigned")
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        end = self.within(self.network.connect(443), client(None, "a.example", context=context))
        self.settle()
        self.assertTrue(end.shaken)


class StopTests(AcmeTestCase):
    def stopping(self, ended: Deferred[None], timeout: str) -> Deferred[None]:
        redirected = redirect()
        self.begin(redirected, gracefulShutdownTimeout=timeout)
        self.patch(self.proxy._runtime.tls.acme, "ended", lambda: ended)
        return self.proxy.stopService()

    def test_it_waits_until_orders_have_removed_their_challenges(self) -> None:
        ended: Deferred[None] = Deferred()
        stopped = self.stopping(ended, "30s")
        self.network.run(10)
        self.assertNoResult(stopped)
        ended.callback(None)
        self.network.settle()
        self.successResultOf(stopped)

    def test_but_not_longer_than_for_connections(self) -> None:
        stopped = self.stopping(Deferred(), "30s")
        self.network.run(31)
        self.successResultOf(stopped)
