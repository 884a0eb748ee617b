"""Client certificates: required or requested, missing, of another authority, or with a name that is not allowed."""

from __future__ import annotations

import ssl

from tests.live.backends import echo
from tests.live.certificates import Authority
from tests.live.terminating import NAME, TlsCase
from tests.live.waiting import until

#: A client of TLS 1.3 sees a refusal only when it reads: its own handshake is complete before (RFC 8446, 4.4.2.4).
_VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


class ClientCertificateTests(TlsCase):
    def setUp(self):
        super().setUp()
        self.robot = self.authority.certificate("robot")
        self.wanted = {"mode": "require", "ca": str(self.authority.file)}

    def client(self, certificate=None, version=ssl.TLSVersion.TLSv1_3):
        context = self.authority.client()
        context.minimum_version = context.maximum_version = version
        if certificate is not None:
            context.load_cert_chain(certificate)
        return context

    def assert_refused(self, port, context, session=None, name=NAME):
        """Assert that the client receives an alert and nothing else."""
        with self.assertRaises(ssl.SSLError) as seen:
            self.secure(port, name, context, session).recv(1)
        self.assertIn("ALERT", seen.exception.reason)

    def test_client_with_a_certificate_is_served(self):
        _, _, port = self.terminator(echo, tls={"clientAuth": self.wanted})
        for version in _VERSIONS:
            self.assert_echoes(self.secure(port, context=self.client(self.robot, version)))

    def test_client_without_a_required_certificate_is_refused(self):
        """The refusal is counted, and the backend sees no connection."""
        proxy, backend, port = self.terminator(echo, tls={"clientAuth": self.wanted})
        for count, version in enumerate(_VERSIONS, 1):
            self.assert_refused(port, self.client(version=version))
            until(lambda: proxy.rejected("tls_error") == count, "it, counted")  # noqa: B023 - this round's
        self.assertEqual(backend.accepted, 0)

    def test_certificate_of_an_unknown_authority_is_refused(self):
        (self.directory / "other").mkdir()
        stranger = Authority(self.directory / "other").certificate("robot")
        proxy, backend, port = self.terminator(echo, tls={"clientAuth": self.wanted})
        for version in _VERSIONS:
            self.assert_refused(port, self.client(stranger, version))
        until(lambda: proxy.rejected("tls_error") == 2, "both, counted")
        self.assertEqual(backend.accepted, 0)

    def test_certificate_with_another_name_is_refused(self):
        _, backend, port = self.terminator(echo, tls={"clientAuth": {**self.wanted, "match": ["DNS:robot"]}})
        self.assert_echoes(self.secure(port, context=self.client(self.robot)))
        accepted = backend.accepted
        other = self.authority.certificate("other")
        self.assert_refused(port, self.client(other))
        self.assertEqual(backend.accepted, accepted)

    def test_requested_certificate_may_be_missing(self):
        _, _, port = self.terminator(echo, tls={"clientAuth": {**self.wanted, "mode": "request"}})
        self.assert_echoes(self.secure(port, context=self.client()))
        self.assert_echoes(self.secure(port, context=self.client(self.robot)))

    def test_session_of_an_open_name_opens_no_guarded_name(self):
        """Resuming skips the certificate request: a session of an open name must not open a guarded one on the same port."""
        port, backend = self.port(), self.backend(echo)
        proxy = self.proxy(
            self.ending("open", port, backend, domains=[NAME]),
            self.ending(
                "closed",
                port,
                backend,
                certificates=["two.test"],
                domains=["two.test"],
                clientAuth=self.wanted,
            ),
        )
        for version in _VERSIONS:
            context = self.client(version=version)
            first = self.secure(port, context=context)
            self.assert_echoes(first)
            session = first.session
            first.unwrap()
            again = self.secure(port, context=context, session=session)
            self.assert_echoes(again)
            self.assertTrue(again.session_reused)
            self.assert_refused(port, context, session, "two.test")
        self.assertEqual(backend.accepted, 4)
        until(lambda: proxy.rejected("tls_error") == 2, "both, counted")

    def test_curl_with_and_without_a_certificate(self):
        _, _, port = self.terminator(_answer, tls={"clientAuth": self.wanted})
        done = self.curl(port, "--cert", self.robot)
        self.assertEqual((done.stdout, done.returncode), ("known", 0), done.stderr)
        self.assertNotEqual(self.curl(port).returncode, 0)


def _answer(_, sock):
    sock.recv(4096)
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nknown")
