"""The far end of a connection with TLS, over a far end without: the same methods, on plaintext."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL

from tests.tls.talk import resumed


class TlsEnd:
    """The far end of a connection, with a TLS connection that the test gives it.

    :ivar received: plaintext.
    :ivar ended: whether a close_notify was received.
    :ivar problem: the error that ended TLS, if one did.
    """

    def __init__(self, below: Any, connection: SSL.Connection) -> None:
        self.below = below
        self.connection = connection
        self.received = b""
        self.ended = False
        self.problem: SSL.Error | None = None
        self.shaken = False
        self._seen = 0
        self._out = b""
        self._end = False

    @property
    def reading(self) -> bool:
        return self.below.reading

    @reading.setter
    def reading(self, wanted: bool) -> None:
        self.below.reading = wanted

    @property
    def waiting(self) -> int:
        return self.below.waiting

    @property
    def was_reset(self) -> bool:
        return self.below.was_reset

    @property
    def resumed(self) -> bool:
        return resumed(self.connection)

    def write(self, data: bytes) -> None:
        self._out += data
        self.step()

    def fin(self) -> None:
        """Send close_notify, which ends this direction."""
        self._end = True
        self.step()

    def rst(self) -> None:
        self.below.rst()

    def close(self) -> None:
        self.fin()
        self.below.close()

    def step(self) -> bool:
        """Process what was received, and send what there is to send. Whether anything moved."""
        came, self._seen = self.below.received[self._seen :], len(self.below.received)
        if came:
            self.connection.bio_write(came)
        try:
            self._go_on()
        except SSL.Error as problem:
            self.problem = self.problem or problem
        return self._send() or bool(came)

    def _go_on(self) -> None:
        if not self.shaken:
            try:
                self.connection.do_handshake()
            except SSL.WantReadError:
                return
            self.shaken = True
        while self._out:
            self._out = self._out[self.connection.send(self._out[:16384]) :]
        if self._end:
            self._end = False
            self.connection.shutdown()
        while not self.ended:
            try:
                self.received += self.connection.recv(65536)
            except SSL.WantReadError:
                return
            except SSL.ZeroReturnError:
                self.ended = True

    def _send(self) -> bool:
        sent = False
        while True:
            try:
                self.below.write(self.connection.bio_read(1 << 20))
            except SSL.WantReadError:
                return sent
            sent = True
