"""Routing by name: SNI of TLS that is passed through, Host of plain HTTP."""

from __future__ import annotations

import subprocess

from tests.live.backends import over_tls, page, read_header
from tests.live.case import LiveCase, route
from tests.live.certificates import Authority
from tests.live.programs import needed, run


class TlsTests(LiveCase):
    """TLS backends behind one port, each with its own certificate; the proxy has none."""

    def setUp(self):
        super().setUp()
        self.authority = Authority(self.directory)
        self.front = self.port()
        routes = [
            route(name, self.front, self.tls_backend(f"{name}.test"), domains=[f"{name}.test"])
            for name in ("one", "two")
        ]
        wild = route("wild", self.front, self.tls_backend("x.wild.test"), domains=["*.wild.test"])
        self.running = self.proxy(*routes, wild)

    def tls_backend(self, name):
        return self.backend(over_tls(self.authority.server(name), page(f"this is {name}")))

    def curl(self, name):
        """Run curl over TLS; it verifies the certificate against ``name``."""
        where = f"{name}:{self.front}"
        return run(
            needed("curl"), "-sS", "--cacert", self.authority.file, "--resolve", f"{where}:127.0.0.1",
            f"https://{where}/",
        )  # fmt: skip

    def s_client(self, *options):
        """Run ``openssl s_client``, which ends after the handshake."""
        return run(
            needed("openssl"), "s_client", "-connect", f"127.0.0.1:{self.front}", "-CAfile",
            self.authority.file, "-verify_return_error", *options, stderr=subprocess.STDOUT,
            stdout=subprocess.PIPE, capture_output=False,
        )  # fmt: skip

    def test_curl_reaches_each_tls_backend_by_name(self):
        """curl verifies each certificate, and reports the alert for an unknown name."""
        for name in ("one.test", "two.test", "x.wild.test"):
            done = self.curl(name)
            self.assertEqual((done.stdout, done.returncode), (f"this is {name}", 0), done.stderr)
        done = self.curl("three.test")
        self.assertEqual(done.returncode, 35)  # CURLE_SSL_CONNECT_ERROR
        self.assertIn("unrecognized name", done.stderr)
        self.assertEqual(self.running.rejected("no_route"), 1)

    def test_openssl_reaches_each_tls_backend_by_name(self):
        """Also with a ClientHello of TLS 1.2 and with ALPN."""
        for name in ("one.test", "two.test"):
            done = self.s_client("-servername", name, "-verify_hostname", name)
            self.assertIn("Verification: OK", done.stdout)
            self.assertIn(f"CN = {name}", done.stdout)
        done = self.s_client("-servername", "two.test", "-tls1_2", "-alpn", "h2,http/1.1")
        self.assertIn("CN = two.test", done.stdout)
        self.assertIn("TLSv1.2", done.stdout)

    def test_openssl_gets_alert_112_for_unknown_or_no_name(self):
        """112 is ``unrecognized_name`` (RFC 6066, 3)."""
        for options in (("-servername", "three.test"), ("-noservername",)):
            done = self.s_client(*options)
            self.assertIn("SSL alert number 112", done.stdout)
            self.assertNotEqual(done.returncode, 0)


class HttpTests(LiveCase):
    """Two HTTP backends behind one port."""

    def setUp(self):
        super().setUp()
        self.front = self.port()
        self.one, self.two = (self.backend(page(f"this is {name}")) for name in ("one", "two"))
        self.running = self.proxy(
            route("one", self.front, self.one, domains=["one.test"]),
            route("two", self.front, self.two, domains=["two.test"]),
        )

    def curl(self, name):
        where = f"{name}:{self.front}"
        return run(
            needed("curl"),
            "-sS",
            "-w",
            "\n%{http_code}",
            "--resolve",
            f"{where}:127.0.0.1",
            f"http://{where}/x",
        )

    def test_curl_reaches_each_http_backend_by_name(self):
        """The request arrives unchanged, and an unknown name gets 404."""
        for name in ("one.test", "TWO.test"):
            done = self.curl(name)
            self.assertEqual(done.stdout, f"this is {name[:3].lower()}\n200")
        (request,) = self.two.seen
        self.assertTrue(request.startswith(b"GET /x HTTP/1.1\r\nHost: TWO.test:"), request)
        done = self.curl("three.test")
        self.assertTrue(done.stdout.endswith("\n404"), done)
        self.assertEqual(self.running.rejected("no_route"), 1)


class CurlAnnouncingTests(LiveCase):
    def test_curl_announcing_itself_is_announced_to_the_backend(self):
        """``curl --haproxy-protocol`` sends a PROXY header; the backend receives the same client address."""
        backend = self.backend(_announced_page)
        front = self.port()
        proxy = self.proxy(
            route("one", front, backend, domains=["one.test"], action={"sendProxyProtocol": 2}),
            proxyIPs=["127.0.0.0/8"],
        )
        done = run(
            needed("curl"), "-sS", "--haproxy-protocol", "--interface", "127.0.0.9", "-H", "Host: one.test",
            "-w", "\n%{local_ip} %{local_port}", f"http://127.0.0.1:{front}/",
        )  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        text, _, local = done.stdout.partition("\n")
        self.assertEqual(text, local)
        self.assertTrue(local.startswith("127.0.0.9 "), local)
        self.assertEqual(
            proxy.metrics["proxyHeaders"]["1"], {"ok": 1, "invalid": 0, "missing": 0, "timeout": 0}
        )


def _announced_page(backend, sock):
    """Send an HTTP response that contains the announced client."""
    header, _, rest = read_header(sock)
    page("{} {}".format(*header.source))(backend, sock, rest)
