"""TLS to targets (nginx, HAProxy and Python's ssl): verification, client certificates, and how connections end."""

from __future__ import annotations

import socket
import ssl

from tests.live.backends import echo, over_tls, page, read_to_end
from tests.live.case import route
from tests.live.haproxy import haproxy
from tests.live.nginx import nginx
from tests.live.terminating import INNER, TLS_CUT, TLS_WAYS, ReEncryptingCase, in_order
from tests.live.waiting import until


class StrangersTests(ReEncryptingCase):
    """Real servers as targets, requested by curl; they answer with the TLS version and the SNI they received."""

    def assert_answers(self, peer, words):
        proxy, port = self.re_encrypting({"host": "127.0.0.1", "port": peer})
        done = self.curl(port, "-H", "Connection: close")
        self.assertEqual((done.stdout, done.returncode), (words, 0), done.stderr)
        proxy.emptied()
        until(lambda: proxy.closed("normal") == 1, "an end in order")

    def test_nginx_as_a_target_with_tls(self):
        peer, certificate = self.port(), self.authority.certificate(INNER)
        nginx(
            self,
            peer,
            f"listen 127.0.0.1:{peer} ssl",
            "ssl_protocols TLSv1.2 TLSv1.3",
            f"ssl_certificate {certificate}",
            f"ssl_certificate_key {certificate}",
            'return 200 "$ssl_protocol $ssl_server_name"',
        )
        self.assert_answers(peer, f"TLSv1.3 {INNER}")

    def test_haproxy_as_a_target_with_tls(self):
        peer, certificate = self.port(), self.authority.certificate(INNER)
        reply = 'http-request return status 200 content-type text/plain lf-string "%[ssl_fc_protocol] %[ssl_fc_sni]"'
        haproxy(
            self,
            peer,
            f"frontend f\n mode http\n bind 127.0.0.1:{peer} ssl crt {certificate}\n {reply}",
        )
        self.assert_answers(peer, f"TLSv1.3 {INNER}")


class VerifiedTests(ReEncryptingCase):
    def served(self, name, serve=echo):
        return self.backend(over_tls(self.authority.server(name), serve))

    def test_target_with_the_wrong_name_is_not_used(self):
        """The next target is used; without one, the client is refused and the log has the reason."""
        wrong = self.served("other.test")
        proxy, port = self.re_encrypting(wrong)
        with self.assertRaises(TLS_CUT):  # perhaps before anything could be sent
            self.secure(port).recv(1)
        until(lambda: proxy.rejected("tls_error") == 1, "it, counted")
        self.assertIn("is not for inner.test", proxy.printed)
        _, port = self.re_encrypting(wrong, self.served(INNER))
        for _ in range(2):
            self.assert_echoes(self.secure(port))

    def test_target_of_an_unknown_authority_is_not_used(self):
        (self.directory / "other").mkdir()
        stranger = self.authority.__class__(self.directory / "other")
        backend = self.backend(over_tls(stranger.server(INNER), echo))
        proxy, port = self.re_encrypting(backend)
        with self.assertRaises(TLS_CUT):  # perhaps before anything could be sent
            self.secure(port).recv(1)
        until(lambda: proxy.rejected("tls_error") == 1, "it, counted")
        _, port = self.re_encrypting(backend, upstream={"verify": False})
        self.assert_echoes(self.secure(port))

    def test_client_certificate_is_sent_to_the_target(self):
        """A target that requires a client certificate receives the configured one."""
        context = self.authority.server(INNER)
        context.load_verify_locations(self.authority.file)
        context.verify_mode = ssl.CERT_REQUIRED

        def serve(_, sock):
            sock.sendall(dict(sock.getpeercert()["subject"][0])["commonName"].encode())

        own = str(self.authority.certificate("proxy.test"))
        _, port = self.re_encrypting(
            self.backend(over_tls(context, in_order(serve))), upstream=self.verified(certFile=own)
        )
        self.assertEqual(read_to_end(self.secure(port)), b"proxy.test")

    def test_a_target_that_wants_a_certificate_that_we_do_not_have(self):
        """In TLS 1.3 it says so after the handshake, behind the request: the client gets a 502, and the log has the alert."""
        context = self.authority.server(INNER)
        context.load_verify_locations(self.authority.file)
        context.verify_mode = ssl.CERT_REQUIRED
        request = b"GET / HTTP/1.1\r\nHost: live.test\r\n\r\n"
        for way in TLS_WAYS:
            backend, inside, outside = self.backend(over_tls(context, echo)), self.port(), self.port()
            again = {"mode": "terminate-and-reencrypt", "upstream": self.verified()}
            routes = [
                self.ending("inside", inside, backend, **again),
                route("outside", outside, {**backend.target, "tls": self.verified()}),
            ]
            for made in routes:  # they are dialed when the request is there
                made["match"] |= {"path": "/*", "protocol": "http"}
                made["action"]["protocol"] = "tcp"
            proxy = self.proxy(*routes, **way)
            for client in (self.secure(inside), self.connect(outside)):
                client.sendall(request + bytes(300_000))
                self.assertTrue(self.read(client, 12).startswith(b"HTTP/1.1 502"))
            until(lambda: proxy.rejected("tls_error") == 2, "both, counted")  # noqa: B023 - this round's
            proxy.emptied()
            for name in ("inside", "outside"):
                self.assertRegex(
                    proxy.printed, f"route {name}: TLS with .* failed .*: tlsv13 alert certificate required"
                )

    def test_plain_client_reaches_a_target_with_tls(self):
        """A target has TLS although its route terminates none."""
        backend, port = self.served(INNER, in_order(page("inside"))), self.port()
        target = {**backend.target, "tls": self.verified()}
        self.proxy(route("plain", port, target))
        client = self.connect(port)
        client.sendall(b"GET / HTTP/1.1\r\nHost: live.test\r\n\r\n")
        self.assertTrue(read_to_end(client).endswith(b"inside"))


class EndTests(ReEncryptingCase):
    def both(self, serve):
        """For each kind of relay, a proxy in front of a backend with TLS that runs ``serve``."""
        for way in TLS_WAYS:
            backend = self.backend(over_tls(self.authority.server(INNER), serve))
            proxy, port = self.re_encrypting(backend, **way)
            yield proxy, port

    def test_close_notify_in_both_directions_closes_normally(self):
        """A clean end of TLS is passed on as such, and counted as normal."""
        for proxy, port in self.both(in_order(echo)):
            client = self.secure(port)
            self.assert_echoes(client)
            client.unwrap().close()
            proxy.emptied()
            until(lambda: proxy.closed("normal") == 1, "an end in order")  # noqa: B023 - this round's
            self.assertEqual(proxy.moved, (5, 5))

    def test_fin_of_a_target_without_close_notify_is_a_reset(self):
        """A FIN alone is not authenticated (truncation attack), so the client must not see a clean end."""

        def serve(_, sock):
            sock.sendall(b"half of it")
            sock.recv(1)
            socket.socket.shutdown(sock, socket.SHUT_WR)
            until(lambda: socket.socket.recv(sock, 1 << 16) == b"", "the other's end")

        for proxy, port in self.both(serve):
            client = self.secure(port)
            self.assertEqual(self.read(client, 10), b"half of it")
            client.sendall(b".")
            with self.assertRaises(TLS_CUT):
                client.recv(1)
            proxy.emptied()
            until(lambda: proxy.closed("upstream_reset") == 1, "the cut, counted")  # noqa: B023 - this round's
