"""TLS that ends in the proxy, as strangers speak it: curl and openssl as clients."""

from __future__ import annotations

from OpenSSL import SSL

from tests.live.backends import echo, page
from tests.live.terminating import NAME, TlsCase
from tests.live.waiting import until

_WAYS = [(version, alpn) for version in ("1.2", "1.3") for alpn in ("--alpn", "--no-alpn")]


class CurlTests(TlsCase):
    """HTTP over a route that ends TLS and relays what was inside."""

    def fetched(self, **tls):
        """What curl says of itself, with each set of options, while it fetches a page."""
        proxy, backend, port = self.terminator(page("inside"), tls=tls)
        for count, (version, alpn) in enumerate(_WAYS, 1):
            done = self.curl(port, "-v", "--http1.1", f"--tlsv{version}", "--tls-max", version, alpn)
            self.assertEqual((done.stdout, done.returncode), ("inside", 0), done.stderr)
            self.assertIn(f"Host: {NAME}:{port}".encode(), backend.seen[-1])
            self.assertIn(f"SSL connection using TLSv{version}", done.stderr)
            until(lambda: proxy.closed("normal") == count, "an end in order")  # noqa: B023 - this round's
            yield alpn, done.stderr

    def test_every_version_with_and_without_alpn(self):
        """A client that offers ALPN is served where the route negotiates none, and so is one that does not."""
        for _, told in self.fetched():
            self.assertNotIn("server accepted", told)

    def test_what_the_route_negotiates(self):
        for alpn, told in self.fetched(alpn=["http/1.1"]):
            self.assertEqual("server accepted http/1.1" in told, alpn == "--alpn", told)

    def test_an_older_version_than_the_oldest(self):
        """The default is 1.2, and a route may want more."""
        _, _, port = self.terminator(page("inside"), tls={"minVersion": "1.3"})
        done = self.curl(port, "--tls-max", "1.2")
        self.assertEqual(done.returncode, 35, done.stdout)  # CURLE_SSL_CONNECT_ERROR
        self.assertIn("protocol version", done.stderr)


class OpensslTests(TlsCase):
    def setUp(self):
        super().setUp()
        self.front = self.port()
        backend = self.backend(echo)
        kinds = [self.authority.certificate(NAME, kind) for kind in ("ecdsa", "rsa")]
        self.running = self.proxy(
            self.ending("both", self.front, backend, certificates=[*kinds, "two.test"], domains=["*.test"])
        )

    def test_the_certificate_is_chosen_by_name(self):
        for name in (NAME, "two.test"):
            done = self.s_client(self.front, "-servername", name, "-verify_hostname", name)
            self.assertIn("Verification: OK", done.stdout)
            self.assertIn(f"subject=CN = {name}", done.stdout)

    def test_a_name_without_a_certificate_is_unrecognized(self):
        """Whether a route wants it (no certificate) or none does (no route)."""
        for name, reason in (("three.test", "tls_error"), ("elsewhere.example", "no_route")):
            with self.subTest(name=name):
                done = self.s_client(self.front, "-servername", name)
                self.assertIn("SSL alert number 112", done.stdout)  # unrecognized_name: RFC 6066, 3
                self.assertEqual(self.running.rejected(reason), 1)

    def test_the_kind_of_key_is_chosen_by_what_the_client_can_verify(self):
        for algorithms, used in (("ECDSA+SHA256", "ECDSA"), ("rsa_pss_rsae_sha256", "RSA-PSS")):
            done = self.s_client(self.front, "-servername", NAME, "-sigalgs", algorithms)
            self.assertIn(f"Peer signature type: {used}", done.stdout)

    def test_a_client_of_tls_1_2_without_ecdsa_gets_rsa(self):
        for ciphers, used in (
            ("ECDHE-RSA-AES128-GCM-SHA256", "RSA"),
            ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDSA"),
        ):
            done = self.s_client(self.front, "-servername", NAME, "-tls1_2", "-cipher", ciphers)
            self.assertIn(f"Cipher is ECDHE-{used}-", done.stdout)

    def test_a_session_is_resumed(self):
        """s_client keeps what it was given, in either version, and comes back with it."""
        _, _, port = self.terminator(page("inside"))  # it ends the connection, and that is behind the tickets
        for version in ("-tls1_2", "-tls1_3"):
            with self.subTest(version=version):
                file = self.directory / f"session{version}"
                options = ("-servername", NAME, version, "-ign_eof")
                asked = "GET / HTTP/1.1\r\n\r\n"
                self.assertIn(
                    "\nNew, TLSv1", self.s_client(port, *options, "-sess_out", file, said=asked).stdout
                )
                done = self.s_client(port, *options, "-sess_in", file, said=asked)
                self.assertIn("\nReused, TLSv1", done.stdout)

    def test_renegotiation_is_refused(self):
        """A client of TLS 1.2 that asks for it is not given a second handshake (RFC 5246, 7.2.2)."""
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        client = self.greeted(context)
        client.renegotiate()
        with self.assertRaises(SSL.Error) as seen:
            client.do_handshake()
            client.recv(1)
        self.assertIn("no renegotiation", str(seen.exception))
