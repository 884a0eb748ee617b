"""Clients that must say who they are: whose certificate is wanted, who has none, and who has the wrong one."""

from __future__ import annotations

import ssl

from tests.live.backends import echo
from tests.live.certificates import Authority
from tests.live.terminating import NAME, TlsCase
from tests.live.waiting import until

#: A client of TLS 1.3 hears of a refusal only when it reads: its own handshake is done before (RFC 8446, 4.4.2.4).
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
        """An alert comes, and nothing else."""
        with self.assertRaises(ssl.SSLError) as seen:
            self.secure(port, name, context, session).recv(1)
        self.assertIn("ALERT", seen.exception.reason)

    def test_with_one(self):
        _, _, port = self.terminator(echo, tls={"clientAuth": self.wanted})
        for version in _VERSIONS:
            self.assert_echoes(self.secure(port, context=self.client(self.robot, version)))

    def test_without_one(self):
        """No backend ever sees such a client, and it is counted."""
        proxy, backend, port = self.terminator(echo, tls={"clientAuth": self.wanted})
        for count, version in enumerate(_VERSIONS, 1):
            self.assert_refused(port, self.client(version=version))
            until(lambda: proxy.rejected("tls_error") == count, "it, counted")  # noqa: B023 - this round's
        self.assertEqual(backend.accepted, 0)

    def test_of_a_stranger(self):
        (self.directory / "other").mkdir()
        stranger = Authority(self.directory / "other").certificate("robot")
        proxy, backend, port = self.terminator(echo, tls={"clientAuth": self.wanted})
        for version in _VERSIONS:
            self.assert_refused(port, self.client(stranger, version))
        until(lambda: proxy.rejected("tls_error") == 2, "both, counted")
        self.assertEqual(backend.accepted, 0)

    def test_with_a_name_that_is_not_wanted(self):
        _, backend, port = self.terminator(echo, tls={"clientAuth": {**self.wanted, "match": ["DNS:robot"]}})
        self.assert_echoes(self.secure(port, context=self.client(self.robot)))
        accepted = backend.accepted
        other = self.authority.certificate("other")
        self.assert_refused(port, self.client(other))
        self.assertEqual(backend.accepted, accepted)

    def test_requested_and_not_given(self):
        _, _, port = self.terminator(echo, tls={"clientAuth": {**self.wanted, "mode": "request"}})
        self.assert_echoes(self.secure(port, context=self.client()))
        self.assert_echoes(self.secure(port, context=self.client(self.robot)))

    def test_a_session_does_not_cross_into_a_name_that_wants_more(self):
        """What was agreed with a name that asks for nothing opens no other, on the same port."""
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

    def test_curl_with_and_without(self):
        _, _, port = self.terminator(_answer, tls={"clientAuth": self.wanted})
        done = self.curl(port, "--cert", self.robot)
        self.assertEqual((done.stdout, done.returncode), ("known", 0), done.stderr)
        self.assertNotEqual(self.curl(port).returncode, 0)


def _answer(_, sock):
    sock.recv(4096)
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nknown")
