"""One TLS connection in memory: ciphertext on one side, plaintext on the other, no socket.

::

    socket  --recv-->  feed()    | TLS |  read()     -->  the other side
    socket  <--send--  output()  |     |  encrypt()  <--  the other side

OpenSSL's memory for either side grows to the most that it has held, and never shrinks. So large data is read where it is
and written two records at a time, and memory that has grown is exchanged for new.

Large data goes through two buffers that all channels share. This is safe because everything runs in one thread, and each
caller has used the contents up before the next call. A new object for each record would cost half as much again as the
encryption. pyOpenSSL makes one in each of its calls (``recv_into`` and ``bio_read`` alike), and raises an exception each
time that there is no data; so calls that are made for every connection go directly to the OpenSSL below it. This module
is the only one that does so, and setup.cfg pins the versions that it is known to work with. Rare calls use pyOpenSSL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from OpenSSL import SSL
from OpenSSL._util import ffi, lib

from smartproxy.errors import TlsError

if TYPE_CHECKING:
    from collections.abc import Callable

Buffer: TypeAlias = bytes | bytearray | memoryview

#: The largest plaintext of one record, in bytes (RFC 8446, 5.1).
RECORD = 16 * 1024
#: Bytes of plaintext moved at once: sixteen records, for one system call on either side. With four, a GB costs an eighth
#: more.
PLAIN = 16 * RECORD
#: Room for as much ciphertext: a record adds at most 256 bytes (RFC 8446, 5.2); tickets and alerts come on top.
CIPHER = PLAIN + 16 * 1024

#: Plaintext that is encrypted at once. With one record, or with four, it takes a tenth longer.
_AT_ONCE = 2 * RECORD
#: OpenSSL's memory that has held no more bytes than this is kept; to exchange it takes 1 us.
_SMALL = 2048
#: Plaintext that may wait to be encrypted. OpenSSL writes nothing while it has a part of a handshake message: of a ticket,
#: say, that a target with small records sends in several of them. The rest follows as a rule at once.
_LATE = 2 * PLAIN

_plain = bytearray(PLAIN)
_cipher = bytearray(CIPHER)
_plain_at = ffi.from_buffer(_plain)
_cipher_at = ffi.from_buffer(_cipher)

#: Where OpenSSL would go on to read.
_rest_at = ffi.new("char **")

#: The shared buffers, to receive into and to send from. The next call overwrites them.
PLAIN_VIEW = memoryview(_plain)
CIPHER_VIEW = memoryview(_cipher)


class Channel:
    """Moves the bytes of one pyOpenSSL connection that was made without a socket.

    :ivar ended: whether the peer's close_notify was received: an authenticated end of its data.
    :ivar problem: why the next read will fail: what follows the bytes that were read last is not valid TLS. Else empty.
    """

    __slots__ = (
        "_borrowed", "_ends_late", "_from", "_into", "_late", "_ssl", "_unread", "connection", "ended", "problem",
    )  # fmt: skip

    def __init__(self, connection: SSL.Connection) -> None:
        inside: Any = connection
        self.connection = connection
        self._ssl = inside._ssl  # noqa: SLF001 - see the head of the module
        self._into = inside._into_ssl  # noqa: SLF001 - likewise
        self._from = inside._from_ssl  # noqa: SLF001 - likewise
        self._unread = 0  # bytes that OpenSSL was given since it had read all
        self._borrowed = False  # whether it reads from memory of the caller's, to which nothing can be added
        self._late = b""  # what waits to be encrypted: see _LATE
        self._ends_late = False  # whether our close_notify waits likewise
        self.ended = False
        self.problem = ""

    def feed(self, data: Buffer) -> None:
        """Pass ciphertext, received from the peer, to OpenSSL."""
        self._feed(ffi.from_buffer(data), len(data))

    def _feed(self, at: Any, count: int) -> None:
        if self._borrowed:
            self._read_from(lib.BIO_new(lib.BIO_s_mem()))
        lib.BIO_write(self._into, at, count)
        self._unread += count

    def handshake(self) -> bool:
        """Continue the handshake with what was received. Returns whether it is complete.

        :raises TlsError: if it cannot succeed. The output may have an alert.
        """
        # Called directly: pyOpenSSL would raise an exception for each flight that is still awaited.
        result = lib.SSL_do_handshake(self._ssl)
        if result == 1:
            return True
        if lib.SSL_get_error(self._ssl, result) == lib.SSL_ERROR_WANT_READ:
            return False
        inside: Any = self.connection
        try:
            # It raises first what a callback of the context has raised, which OpenSSL cannot pass on.
            inside._raise_ssl_error(self._ssl, result)  # noqa: SLF001 - see the head of the module
        except SSL.Error as failed:
            raise TlsError(_told(failed)) from failed
        raise TlsError("the handshake makes no progress")

    @property
    def resumed(self) -> bool:
        """Whether the handshake resumed an earlier session. pyOpenSSL does not offer this."""
        return bool(lib.SSL_session_reused(self._ssl))

    @property
    def verify_error(self) -> int:
        """Why the peer's certificate was not accepted: a code of :class:`OpenSSL.SSL.X509VerificationCodes`, 0 for none."""
        return int(lib.SSL_get_verify_result(self._ssl))

    @property
    def is_awaited(self) -> bool:
        """Whether the peer waits for the output of our handshake, which is complete.

        With TLS 1.2, a server's last output may be its Finished, for which the client waits. With TLS 1.3 a server's has
        only tickets. A client's is its Finished; the relay sends it at once, before any payload.
        """
        return bool(lib.SSL_version(self._ssl) != SSL.TLS1_3_VERSION)

    @property
    def version(self) -> str:
        """The protocol version, as ``TLSv1.3``."""
        return _named(_versions, lib.SSL_version(self._ssl), self.connection.get_protocol_version_name)

    @property
    def cipher(self) -> str:
        """OpenSSL's name of the cipher suite."""
        at = int(ffi.cast("uintptr_t", lib.SSL_get_current_cipher(self._ssl)))
        return _named(_ciphers, at, lambda: self.connection.get_cipher_name() or "")

    def read(self) -> int:
        """Decrypt into :data:`PLAIN_VIEW`. Returns how many bytes; fewer than :data:`PLAIN` if there are no more now.

        :raises TlsError: if what was received is not valid TLS. Bytes before that are returned first: see :attr:`problem`.
        """
        if self.problem:
            raise TlsError(self.problem)
        # SSL_read returns one record at most, so it is called until the buffer is full or there is no whole record.
        got = 0
        while got < PLAIN:
            result = lib.SSL_read(self._ssl, _plain_at + got, PLAIN - got)
            if result <= 0:
                self._check_read(result, got)
                break
            got += result
        if (self._late or self._ends_late) and not self.problem:
            self._write_late()
        return got

    def _check_read(self, result: int, got: int) -> None:
        """Handle the result of a read that moved nothing, behind ``got`` bytes that other reads have moved."""
        try:
            self._check(result)
        except TlsError as failed:
            if not got:
                raise
            self.problem = str(failed)
            return
        # It asks for more only when it has read all; and behind a close_notify it reads nothing.
        if self._unread > _SMALL:
            self._read_from(lib.BIO_new(lib.BIO_s_mem()))
        self._unread = 0

    def decrypt(self, data: Buffer) -> int:
        """Pass ciphertext, received from the peer, to OpenSSL, and decrypt as :meth:`read` does.

        :raises TlsError: likewise.
        """
        return self._decrypt(ffi.from_buffer(data), len(data))

    def decrypt_shared(self, count: int) -> int:
        """The same with ``count`` bytes of :data:`CIPHER_VIEW`."""
        return self._decrypt(_cipher_at, count)

    def _decrypt(self, at: Any, count: int) -> int:
        if self.ended:
            return 0  # OpenSSL would keep it, and never read it
        if count <= _SMALL or self._unread:
            self._feed(at, count)
            return self.read()
        # OpenSSL reads large data where it is. What it leaves has to be copied, before the caller uses that memory again.
        lent = lib.BIO_new_mem_buf(at, count)
        lib.BIO_set_mem_eof_return(lent, -1)
        self._read_from(lent)
        self._borrowed = True
        got = PLAIN
        try:
            got = self.read()
        finally:
            if got == PLAIN or self.problem or self.ended:
                rest = lib.BIO_get_mem_data(lent, _rest_at)
                self._feed(_rest_at[0], rest)
        return got

    def _read_from(self, memory: Any) -> None:
        """Let OpenSSL read from ``memory``; what it read from before, which is empty, is freed."""
        inside: Any = self.connection
        inside._into_ssl = self._into = memory  # noqa: SLF001 - see the head of the module
        lib.SSL_set_bio(self._ssl, memory, self._from)
        self._borrowed = False

    def encrypt(self, data: Buffer) -> bytes:
        """Encrypt ``data``. Returns all output; what was output before comes first.

        :raises TlsError: if the connection accepts no more data.
        """
        at, count = ffi.from_buffer(data), len(data)
        taken = []
        for begin in range(0, count, PLAIN):
            ready = self._encrypt(at + begin, min(PLAIN, count - begin))
            taken.append(bytes(CIPHER_VIEW[:ready]))
            if ready == CIPHER:
                taken.append(self.take_output())
        return b"".join(taken)

    def encrypt_shared(self, count: int) -> int:
        """Encrypt ``count`` bytes of :data:`PLAIN_VIEW`, and move the output as :meth:`output` does.

        :raises TlsError: if the connection accepts no more data.
        """
        return self._encrypt(_plain_at, count)

    def output(self) -> int:
        """Move output into :data:`CIPHER_VIEW`. Returns how many bytes; fewer than :data:`CIPHER` if that was all."""
        got: int = max(lib.BIO_read(self._from, _cipher_at, CIPHER), 0)
        if _SMALL < got < CIPHER:
            self._write_to_new()
        return got

    def take_output(self) -> bytes:
        """All output as bytes: for little of it, as that of a handshake or of an end."""
        taken = b""
        while got := self.output():
            taken += CIPHER_VIEW[:got]
            if got < CIPHER:
                break
        return taken

    def say_end(self) -> None:
        """Put our close_notify into the output. The peer may still send (RFC 8446, 6.1)."""
        try:
            self.connection.shutdown()
            self._ends_late = False
        except SSL.Error:
            # There is a part of a handshake message; or the handshake is not complete, and there is nothing to end.
            self._ends_late = True

    def _encrypt(self, at: Any, count: int) -> int:
        """Encrypt at most :data:`PLAIN` bytes, and move the output, some records at a time. Returns how many bytes of it."""
        if self._late:
            return self._encrypt_late(at, count)
        made = written = 0
        while written < count:
            result = lib.SSL_write(self._ssl, at + written, min(_AT_ONCE, count - written))
            if result <= 0:
                self._check(result)
                self._keep(at + written, count - written)
                break
            written += result
            made += max(lib.BIO_read(self._from, _cipher_at + made, CIPHER - made), 0)
        if _SMALL < made < CIPHER:
            self._write_to_new()
        return made

    def _keep(self, at: Any, count: int) -> None:
        """Keep plaintext until the rest of the peer's message has been received."""
        if len(self._late) + count > _LATE or self._ends_late:
            raise TlsError("the connection accepts no more data")
        self._late += ffi.buffer(at, count)[:]

    def _encrypt_late(self, at: Any, count: int) -> int:
        """As :meth:`_encrypt`, while other plaintext waits."""
        self._keep(at, count)
        self._write_late()
        return self.output()

    def _write_late(self) -> None:
        """Encrypt what waits, and then our end, if that is possible now."""
        while self._late:
            result = lib.SSL_write(self._ssl, ffi.from_buffer(self._late), len(self._late))
            if result <= 0:
                self._check(result)
                return
            self._late = self._late[result:]
        if self._ends_late:
            self.say_end()

    def _write_to_new(self) -> None:
        """Let OpenSSL write into new memory; what it wrote into before, which is empty, is freed."""
        inside: Any = self.connection
        inside._from_ssl = self._from = lib.BIO_new(lib.BIO_s_mem())  # noqa: SLF001 - see the head of the module
        lib.SSL_set_bio(self._ssl, self._into, self._from)

    def _check(self, result: int) -> None:
        """Handle the result of a call that moved nothing: no data now, a close_notify, or a failure."""
        # It looks at OpenSSL's error queue as well, so no other call may come between.
        code = lib.SSL_get_error(self._ssl, result)
        if code == lib.SSL_ERROR_ZERO_RETURN:
            self.ended = True
        elif code not in (lib.SSL_ERROR_WANT_READ, lib.SSL_ERROR_WANT_WRITE):
            raise TlsError(_queued())


#: Names of versions and ciphers by OpenSSL's number or pointer. There are few, and they do not change.
_versions: dict[int, str] = {}
_ciphers: dict[int, str] = {}


def _named(known: dict[int, str], number: int, ask: Callable[[], str]) -> str:
    name = known.get(number)
    if name is None:
        name = known[number] = ask()
    return name


def _told(failed: SSL.Error) -> str:
    """The text of OpenSSL's errors."""
    if isinstance(failed, SSL.SysCallError) or not failed.args or not isinstance(failed.args[0], list):
        return "the connection broke off"
    return "; ".join(reason for *_, reason in failed.args[0]) or "the connection broke off"


def _queued() -> str:
    """The text of the errors in OpenSSL's queue, which must be empty before the next call."""
    words = []
    while code := lib.ERR_get_error():
        reason = lib.ERR_reason_error_string(code)
        words.append("unknown" if reason == ffi.NULL else ffi.string(reason).decode("ascii", "replace"))
    return "; ".join(words) or "the connection broke off"
