"""Routes that end the client's TLS, and clients that see what is on the wire."""

from __future__ import annotations

import ssl
import subprocess

from OpenSSL import SSL

from tests.live.case import WAYS, LiveCase, route
from tests.live.certificates import Authority
from tests.live.programs import needed, run
from tests.live.tls_end import TlsEnd

#: The name that everything here is called, where one is enough.
NAME = "one.test"
#: The name of a target within TLS.
INNER = "inner.test"
#: Arguments of :meth:`LiveCase.proxy` for each way to relay TLS: between sockets of the poller, whatever the acceleration, and
#: between the transports of Twisted.
TLS_WAYS = (WAYS[0], WAYS[-1])
#: What a client's read raises where the connection has ended without a close_notify. Python has a class of its own for this,
#: ``SSLEOFError``, but its releases before 3.11.4 do not raise it with OpenSSL 3.
TLS_CUT = (ConnectionError, ssl.SSLError)


class TlsCase(LiveCase):
    """A test of a proxy that has certificates of :attr:`authority`."""

    def setUp(self):
        super().setUp()
        self.authority = Authority(self.directory)

    # -- the proxy -------------------------------------------------------------------------------------

    def ending(self, name, port, *backends, certificates=(NAME,), domains=(), **tls):
        """A route that ends TLS with certificates for these names, or in these files; ``tls`` as in a file."""
        files = [self.authority.certificate(each) if each in _NAMES else each for each in certificates]
        action = {"tls": {"mode": "terminate", "certificate": [_written(file) for file in files], **tls}}
        made = route(name, port, *backends, action=action)
        made["match"] |= {"address": "127.0.0.1", "protocol": "tls"}
        if domains:
            made["match"]["domains"] = list(domains)
        return made

    def terminator(self, serve, *, tls=None, **settings):
        """A proxy that ends TLS before a backend that does ``serve``: itself, the backend, and its port."""
        backend, port = self.backend(serve), self.port()
        return self.proxy(self.ending("one", port, backend, **(tls or {})), **settings), backend, port

    # -- clients ---------------------------------------------------------------------------------------

    def secure(self, port, name=NAME, context=None, session=None):
        """A connection over TLS, which says so when it is cut."""
        context = context or self.authority.client()
        wrapped = context.wrap_socket(
            self.connect(port), server_hostname=name, session=session, suppress_ragged_eofs=False
        )
        self.addCleanup(wrapped.close)
        return wrapped

    def tls_end(self, port, name=NAME, context=None, **options):
        """A client after its handshake that one thread can have send and receive at the same time."""
        end = TlsEnd(self.connect(port), context or self.authority.client(), name, **options)
        end.handshake()
        return end

    def hello(self, name=NAME, context=None):
        """The bytes of a ClientHello."""
        return TlsEnd(None, context or self.authority.client(), name).hello()

    def greeted(self, context):
        """A client of pyOpenSSL's that an echo behind ``self.front`` has answered within the TLS."""
        sock = self.connect(self.front)
        sock.settimeout(None)
        client = SSL.Connection(context, sock)
        client.set_tlsext_host_name(NAME.encode())
        client.set_connect_state()
        client.do_handshake()
        client.send(b"words")
        self.assertEqual(client.recv(5), b"words")
        return client

    def s_client(self, port, *options, said=""):
        """``openssl s_client``, which says ``said`` and ends; what it printed is one text."""
        return run(
            needed("openssl"), "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", self.authority.file,
            *options, stdin=None, input=said, stderr=subprocess.STDOUT, stdout=subprocess.PIPE,
            capture_output=False,
        )  # fmt: skip

    def curl(self, port, *options, name=NAME):
        """curl, which checks the certificate against ``name``."""
        where = f"{name}:{port}"
        return run(
            needed("curl"), "-sS", "--cacert", self.authority.file, "--resolve", f"{where}:127.0.0.1",
            *options, f"https://{where}/",
        )  # fmt: skip


class ReEncryptingCase(TlsCase):
    def re_encrypting(self, *backends, upstream=None, **settings):
        """A proxy that ends TLS and begins it again, towards a target that is called ``inner.test``; and its port."""
        port = self.port()
        if upstream is None:
            upstream = self.verified()
        made = self.ending("again", port, *backends, mode="terminate-and-reencrypt", upstream=upstream)
        return self.proxy(made, **settings), port

    def verified(self, **more):
        """A target must be ``inner.test``, by the word of our authority."""
        return {"ca": str(self.authority.file), "serverName": INNER, **more}


def in_order(serve):
    """``serve``, and a close_notify behind it: without, what it said would be cut."""

    def ended(backend, sock):
        serve(backend, sock)
        sock.unwrap()

    return ended


_NAMES = frozenset({NAME, "two.test"})


def _written(file):
    return {"certFile": str(file)}
