"""One TLS connection between two memories: ciphertext on one side, plaintext on the other, no socket.

::

    socket  --recv-->  feed()  | TLS |  read()    -->  the other side
    socket  <--send--  output  |     |  write()   <--  the other side

Everything large goes through two buffers that all channels share, because no turn is ever interrupted by
another: a fresh object for every record would cost half as much again as the encryption. pyOpenSSL makes
one in each of its calls (``recv_into`` and ``bio_read`` alike), and an exception for each time that there is
nothing; so the calls that are made for every connection go to the OpenSSL beneath it. This module is the only one
that knows how, and setup.cfg pins the versions that it knows; whatever is seldom called is pyOpenSSL's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from OpenSSL import SSL
from OpenSSL._util import ffi, lib

from smartproxy.errors import TlsError

if TYPE_CHECKING:
    from collections.abc import Callable

Buffer: TypeAlias = bytes | bytearray | memoryview

#: The most plaintext of one record (RFC 8446, 5.1).
RECORD = 16 * 1024
#: Plaintext moved in one go: sixteen records, for one system call on either side. With four, a GB costs an eighth more.
PLAIN = 16 * RECORD
#: Room for as much ciphertext: a record adds at most 256 bytes (RFC 8446, 5.2), and a few come unasked.
CIPHER = PLAIN + 16 * 1024

_plain = bytearray(PLAIN)
_cipher = bytearray(CIPHER)
_plain_at = ffi.from_buffer(_plain)
_cipher_at = ffi.from_buffer(_cipher)

#: The shared buffers, to receive into and to send from. What is in them is gone with the next call.
PLAIN_VIEW = memoryview(_plain)
CIPHER_VIEW = memoryview(_cipher)


class Channel:
    """The bytes of one pyOpenSSL connection that was made without a socket.

    :ivar ended: whether the peer has said its close_notify: nothing more will come, and that is authentic.
    """

    __slots__ = ("_from", "_into", "_ssl", "connection", "ended")

    def __init__(self, connection: SSL.Connection) -> None:
        inside: Any = connection
        self.connection = connection
        self._ssl = inside._ssl  # noqa: SLF001 - see the head of the module
        self._into = inside._into_ssl  # noqa: SLF001 - likewise
        self._from = inside._from_ssl  # noqa: SLF001 - likewise
        self.ended = False

    def feed(self, data: Buffer, count: int) -> None:
        """The first ``count`` bytes of ``data`` have come from the peer."""
        lib.BIO_write(self._into, ffi.from_buffer(data), count)

    def feed_shared(self, count: int) -> None:
        """``count`` bytes have come into :data:`CIPHER_VIEW`."""
        lib.BIO_write(self._into, _cipher_at, count)

    def handshake(self) -> bool:
        """Go as far as can be gone. Whether it is done.

        :raises TlsError: where it cannot succeed. There may be an alert in the output.
        """
        result = lib.SSL_do_handshake(self._ssl)
        if result == 1:
            return True
        if lib.SSL_get_error(self._ssl, result) == lib.SSL_ERROR_WANT_READ:
            return False
        inside: Any = self.connection
        try:
            inside._raise_ssl_error(self._ssl, result)  # noqa: SLF001 - what a callback has raised, it kept
        except SSL.Error as failed:
            raise TlsError(_told(failed)) from failed
        raise TlsError("the handshake stands still")

    @property
    def resumed(self) -> bool:
        """Whether the handshake took up a former session. pyOpenSSL has no word for it."""
        return bool(lib.SSL_session_reused(self._ssl))

    @property
    def is_awaited(self) -> bool:
        """Whether the peer waits for what our end of the handshake, which is done, has put into the output.

        A server's end of TLS 1.2 may be the Finished; in TLS 1.3 there are only tickets. A client's end is a Finished, and a
        server that speaks first does wait for it, but whoever goes on has it sent at once.
        """
        return bool(lib.SSL_version(self._ssl) != SSL.TLS1_3_VERSION)

    @property
    def version(self) -> str:
        """What is spoken, as ``TLSv1.3``."""
        return _named(_versions, lib.SSL_version(self._ssl), self.connection.get_protocol_version_name)

    @property
    def cipher(self) -> str:
        """The cipher suite, by OpenSSL's name for it."""
        at = int(ffi.cast("uintptr_t", lib.SSL_get_current_cipher(self._ssl)))
        return _named(_ciphers, at, lambda: self.connection.get_cipher_name() or "")

    def read(self) -> int:
        """Decrypt into :data:`PLAIN_VIEW`; how many bytes. Fewer than :data:`PLAIN`: there are no more yet, or never will be.

        :raises TlsError: where what came is no TLS.
        """
        got = 0
        while got < PLAIN:
            result = lib.SSL_read(self._ssl, _plain_at + got, PLAIN - got)
            if result <= 0:
                self._check(result)
                break
            got += result
        return got

    def write(self, data: Buffer, count: int) -> None:
        """Encrypt the first ``count`` bytes of ``data``."""
        self._encrypt(ffi.from_buffer(data), count)

    def write_shared(self, count: int) -> None:
        """Encrypt ``count`` bytes of :data:`PLAIN_VIEW`."""
        self._encrypt(_plain_at, count)

    def output(self) -> int:
        """Move what is to be sent into :data:`CIPHER_VIEW`; how many bytes. Fewer than :data:`CIPHER`: that was all."""
        got: int = lib.BIO_read(self._from, _cipher_at, CIPHER)
        return max(got, 0)

    def take_output(self) -> bytes:
        """All that is to be sent, where it is little: of a handshake, or the end."""
        taken = b""
        while got := self.output():
            taken += CIPHER_VIEW[:got]
            if got < CIPHER:
                break
        return taken

    def say_end(self) -> None:
        """Put our close_notify into the output. The peer may go on (RFC 8446, 6.1)."""
        try:
            self.connection.shutdown()
        except SSL.Error:
            return  # it never got as far as that

    def _encrypt(self, at: Any, count: int) -> None:
        written = 0
        while written < count:
            result = lib.SSL_write(self._ssl, at + written, count - written)
            if result <= 0:
                self._check(result)
                raise TlsError("the connection takes no more")
            written += result

    def _check(self, result: int) -> None:
        """What a call that returned nothing means."""
        code = lib.SSL_get_error(self._ssl, result)
        if code == lib.SSL_ERROR_ZERO_RETURN:
            self.ended = True
        elif code not in (lib.SSL_ERROR_WANT_READ, lib.SSL_ERROR_WANT_WRITE):
            raise TlsError(_queued())


#: The names of versions and ciphers, by what OpenSSL has for them: a few, and each is the same for ever.
_versions: dict[int, str] = {}
_ciphers: dict[int, str] = {}


def _named(known: dict[int, str], number: int, ask: Callable[[], str]) -> str:
    name = known.get(number)
    if name is None:
        name = known[number] = ask()
    return name


def _told(failed: SSL.Error) -> str:
    """OpenSSL's own words."""
    if isinstance(failed, SSL.SysCallError) or not failed.args or not isinstance(failed.args[0], list):
        return "the connection broke off"
    return "; ".join(reason for *_, reason in failed.args[0]) or "the connection broke off"


def _queued() -> str:
    """The same, of errors that still stand in OpenSSL's queue; it must be empty for the next call."""
    words = []
    while code := lib.ERR_get_error():
        reason = lib.ERR_reason_error_string(code)
        words.append("unknown" if reason == ffi.NULL else ffi.string(reason).decode("ascii", "replace"))
    return "; ".join(words) or "the connection broke off"
