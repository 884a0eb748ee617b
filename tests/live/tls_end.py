"""One end of a TLS connection, over two memory BIOs: for a test that decides what is sent when.

An SSL object must not be used by two threads at the same time (openssl-threads(7)), and an ``ssl.SSLSocket`` of
CPython 3.11 takes no lock while it reads or writes. A thread that sends beside one that receives, which is fine
for a plain socket, corrupts the state of a TLS connection now and then. So one thread does both here: see
:meth:`TlsEnd.exchange`. A test that sends and receives in turn may as well use an ``ssl.SSLSocket``.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl

#: Seconds without any progress after which an exchange has failed. Much more than a busy machine needs.
_PATIENCE = 30.0
_CHUNK = 256 * 1024


class TlsEnd:
    """An end of TLS over ``sock``, which stays a plain socket and is closed by its owner.

    :param name: the server name that a client asks for; ``None`` makes a server's end.
    :param send: ``send(sock, data)`` decides how ciphertext is written, in everything but :meth:`exchange`.
    """

    def __init__(self, sock, context, name, send=socket.socket.sendall):
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self._send = send
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=name is None, server_hostname=name
        )

    # -- one step after the other ------------------------------------------------------------------------

    def handshake(self):
        """All of the handshake."""
        self._until_done(self.tls.do_handshake)

    def hello(self):
        """The bytes of the ClientHello; nothing is sent."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return self._outgoing.read()
        raise AssertionError("a handshake without an answer")

    def write(self, data):
        """Encrypt and send. Nothing is read meanwhile, so ``data`` must fit into the buffers on the way."""
        self._until_done(lambda: self.tls.write(data))

    def read(self):
        """The next plaintext; ``b""`` at a close_notify, and only there."""
        try:
            return self._until_done(lambda: self.tls.read(_CHUNK))
        except ssl.SSLZeroReturnError:
            return b""

    def read_to_end(self):
        """All plaintext up to the close_notify."""
        return b"".join(iter(self.read, b""))

    def end(self):
        """Send close_notify, without waiting for the peer's."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self._flush()

    def _until_done(self, step):
        while True:
            try:
                answer = step()
            except ssl.SSLWantReadError:
                self._flush()
                self._feed(self.sock.recv(_CHUNK))
            else:
                self._flush()
                return answer

    def _flush(self):
        data = self._outgoing.read()
        if data:
            self._send(self.sock, data)

    def _feed(self, data):
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    # -- both directions at once -------------------------------------------------------------------------

    def exchange(self, data):
        """Send ``data`` and read up to the peer's close_notify, both at once; the plaintext that was read.

        :raises ssl.SSLError: where the peer ends without a close_notify.
        """
        unsent, pending, received, ended = memoryview(data), b"", [], False
        timeout = self.sock.gettimeout()
        self.sock.setblocking(False)
        while unsent or pending or not ended:
            if unsent and not pending:
                unsent = unsent[self.tls.write(unsent[:_CHUNK]) :]
                pending = self._outgoing.read()
            readable, writable = self._ready(reading=not ended, writing=bool(pending))
            if readable:
                ended = self._receive(received)
                pending += self._outgoing.read()  # what TLS itself has to say, such as a new key
            if writable:
                pending = pending[self.sock.send(pending) :]
        self.sock.settimeout(timeout)
        return b"".join(received)

    def _ready(self, *, reading, writing):
        sock = [self.sock]
        readable, writable, _ = select.select(reading * sock, writing * sock, [], _PATIENCE)
        assert readable or writable, f"no progress within {_PATIENCE} s"
        return readable, writable

    def _receive(self, received):
        """Decrypt what has arrived, onto ``received``. Whether a close_notify was among it."""
        self._feed(self.sock.recv(_CHUNK))
        try:
            while data := self.tls.read(_CHUNK):
                received.append(data)
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLZeroReturnError:
            pass
        return True
