"""TLS over asyncio's streams, for clients and backends of a soak.

asyncio's own TLS has no half-close and does not let a client choose its records. This is a reader and a writer in one:
what :class:`~benchmarks.soak.talk.Talk` uses of asyncio's.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from OpenSSL import SSL

from smartproxy.wire import tls_record

_CHUNK = 65536
#: Of one record, with room for its header and its tag.
_MOST_CIPHERTEXT = 1 << 15
_PLAINTEXT = 1 << 14
_RECORD_HEAD = 5


def client_context(authority: Path) -> SSL.Context:
    """Verifies that ``authority`` has signed the server's certificate."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.load_verify_locations(str(authority))
    context.set_verify(SSL.VERIFY_PEER, lambda *found: bool(found[-1]))
    return context


def server_context(certificate: Path) -> SSL.Context:
    """For a PEM file with a certificate and its key."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate_chain_file(str(certificate))
    context.use_privatekey_file(str(certificate))
    return context


class SecuredStream:
    """One end of TLS.

    :param name: the server name that a client asks for; ``None`` makes a server's end.
    :param record_size: of the client's first flight, in bytes; 0 leaves its records as they are.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        context: SSL.Context,
        name: str | None = None,
        record_size: int = 0,
    ) -> None:
        self.connection = SSL.Connection(context, None)
        self.transport = writer.transport
        self._reader = reader
        self._writer = writer
        self._record_size = record_size
        if name is None:
            self.connection.set_accept_state()
        else:
            self.connection.set_tlsext_host_name(name.encode())
            self.connection.set_connect_state()

    # -- the handshake -----------------------------------------------------------------------------------

    async def handshake(self, behind: bytes = b"") -> None:
        """Complete the handshake.

        :param behind: written in one piece with the last flight.
        :raises SSL.Error: if it fails.
        """
        while True:
            try:
                self.connection.do_handshake()
            except SSL.WantReadError:
                self._writer.write(self.first_flight())
                await self._writer.drain()
                await self._receive()
            else:
                self._writer.write(self._ciphertext() + behind)
                await self._writer.drain()
                return

    def first_flight(self) -> bytes:
        """What the handshake has to send; a client's first flight in records of the chosen size."""
        data, size = self._ciphertext(), self._record_size
        self._record_size = 0
        if not size or not data:
            return data
        return tls_record.wrap(
            tls_record.HANDSHAKE, data[_RECORD_HEAD:], version=tls_record.FIRST_VERSION, size=size
        )

    def hello(self) -> bytes:
        """The ClientHello, which is not sent."""
        try:
            self.connection.do_handshake()
        except SSL.WantReadError:
            return self.first_flight()
        raise AssertionError("a handshake without an answer")

    # -- as a writer -------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        for at in range(0, len(data), _PLAINTEXT):
            self.connection.send(data[at : at + _PLAINTEXT])
        self._writer.write(self._ciphertext())

    async def drain(self) -> None:
        await self._writer.drain()

    def write_eof(self) -> None:
        """Send close_notify; reading goes on."""
        self.connection.shutdown()
        self._writer.write(self._ciphertext())

    def close(self) -> None:
        self._writer.close()

    async def wait_closed(self) -> None:
        await self._writer.wait_closed()

    def get_extra_info(self, name: str) -> Any:
        return self._writer.get_extra_info(name)

    # -- as a reader -------------------------------------------------------------------------------------

    async def readexactly(self, size: int) -> bytes:
        pieces: list[bytes] = []
        missing = size
        while missing:
            data = await self.read(missing)
            if not data:
                raise asyncio.IncompleteReadError(b"".join(pieces), size)
            pieces.append(data)
            missing -= len(data)
        return b"".join(pieces)

    async def read(self, size: int) -> bytes:
        """At most ``size`` bytes; ``b""`` at a close_notify, and only there.

        :raises ConnectionResetError: at an end without a close_notify.
        """
        while True:
            try:
                return self.connection.recv(size)
            except SSL.ZeroReturnError:
                return b""
            except SSL.WantReadError:
                await self._receive()

    def feed(self, data: bytes) -> None:
        """Take ciphertext that was read elsewhere."""
        self.connection.bio_write(data)

    async def _receive(self) -> None:
        data = await self._reader.read(_CHUNK)
        if not data:
            raise ConnectionResetError("TLS was cut")
        self.feed(data)

    def _ciphertext(self) -> bytes:
        pieces = []
        while True:
            try:
                pieces.append(self.connection.bio_read(_MOST_CIPHERTEXT))
            except SSL.WantReadError:
                return b"".join(pieces)
