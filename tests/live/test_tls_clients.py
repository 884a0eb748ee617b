"""curl and openssl as clients of routes that terminate TLS."""

from __future__ import annotations

from OpenSSL import SSL

from tests.live.backends import echo, page
from tests.live.terminating import NAME, TlsCase
from tests.live.waiting import until

_WAYS = [(version, alpn) for version in ("1.2", "1.3") for alpn in ("--alpn", "--no-alpn")]


class CurlTests(TlsCase):
    """HTTP over a route that terminates TLS and relays the plaintext."""

    def fetched(self, **tls):
        """Fetch a page with each set of options; curl's verbose output of each."""
        proxy, backend, port = self.terminator(page("inside"), tls=tls)
        for count, (version, alpn) in enumerate(_WAYS, 1):
            done = self.curl(port, "-v", "--http1.1", f"--tlsv{version}", "--tls-max", version, alpn)
            self.assertEqual((done.stdout, done.returncode), ("inside", 0), done.stderr)
            self.assertIn(f"Host: {NAME}:{port}".encode(), backend.seen[-1])
            self.assertIn(f"SSL connection using TLSv{version}", done.stderr)
            until(lambda: proxy.closed("normal") == count, "an end in order")  # noqa: B023 - this round's
            yield alpn, done.stderr

    def test_each_tls_version_with_and_without_alpn(self):
        """Where the route negotiates no ALPN, clients with and without it are served."""
        for _, told in self.fetched():
            self.assertNotIn("server accepted", told)

    def test_alpn_is_negotiated_where_the_route_has_it(self):
        for alpn, told in self.fetched(alpn=["http/1.1"]):
            self.assertEqual("server accepted http/1.1" in told, alpn == "--alpn", told)

    def test_client_below_the_minimum_version_is_refused(self):
        """The default is TLS 1.2; this route requires 1.3."""
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

    def test_certificate_is_chosen_by_name(self):
        for name in (NAME, "two.test"):
            done = self.s_client(self.front, "-servername", name, "-verify_hostname", name)
            self.assertIn("Verification: OK", done.stdout)
            self.assertIn(f"subject=CN = {name}", done.stdout)

    def test_name_without_a_certificate_gets_unrecognized_name(self):
        """Whether a route matches the name without a certificate for it, or no route matches."""
        for name, reason in (("three.test", "tls_error"), ("elsewhere.example", "no_route")):
            with self.subTest(name=name):
                done = self.s_client(self.front, "-servername", name)
                self.assertIn("SSL alert number 112", done.stdout)  # unrecognized_name: RFC 6066, 3
                self.assertEqual(self.running.rejected(reason), 1)

    def test_key_type_is_chosen_by_the_signature_algorithms(self):
        for algorithms, used in (("ECDSA+SHA256", "ECDSA"), ("rsa_pss_rsae_sha256", "RSA-PSS")):
            done = self.s_client(self.front, "-servername", NAME, "-sigalgs", algorithms)
            self.assertIn(f"Peer signature type: {used}", done.stdout)

    def test_key_type_is_chosen_by_the_ciphers_of_tls_1_2(self):
        for ciphers, used in (
            ("ECDHE-RSA-AES128-GCM-SHA256", "RSA"),
            ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDSA"),
        ):
            done = self.s_client(self.front, "-servername", NAME, "-tls1_2", "-cipher", ciphers)
            self.assertIn(f"Cipher is ECDHE-{used}-", done.stdout)

    def test_session_is_resumed_in_each_tls_version(self):
        """s_client stores the session it was given, and presents it with a second connection."""
        _, _, port = self.terminator(page("inside"))  # it closes after the session tickets were sent
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
        """Each renegotiation would cost the proxy a signature; TLS 1.2 allows to refuse it (RFC 5246, 7.2.2)."""
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        client = self.greeted(context)
        client.renegotiate()
        with self.assertRaises(SSL.Error) as seen:
            client.do_handshake()
            client.recv(1)
        self.assertIn("no renegotiation", str(seen.exception))
