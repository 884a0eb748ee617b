"""The first bytes of a benchmark's client, and the answer that it expects.

The first 64 bytes contain the connection's serial number, and the backend answers with the first 64 bytes that it
received: a matching answer proves that this connection's bytes went there and back. The PROXY header and the
ClientHello are built here from their specifications instead of by :mod:`smartproxy.wire`, so that the measured code
does not check itself.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

#: Bytes of an answer, and of a plain message.
SMALL = 64
#: Bytes of a ClientHello: browsers padded theirs to this size (RFC 7685) before post-quantum key shares.
HELLO = 517
#: First byte of a TLS handshake record (RFC 8446, 5.1), by which the backend knows the size to expect.
HANDSHAKE = 0x16

#: Returns, for a serial number, the bytes to send and the answer to expect.
Opening = Callable[[int], tuple[bytes, bytes]]

_V2_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"  # PROXY protocol, 2.2
_V2_PROXY_TCP4 = b"\x21\x11"  # version 2, command PROXY; AF_INET, STREAM


def plain(serial: int) -> tuple[bytes, bytes]:
    """A message of 64 bytes, and its echo."""
    message = b"benchmark %012d" % serial + b"." * (SMALL - 22)
    return message, message


def behind_header(serial: int) -> tuple[bytes, bytes]:
    """The same after a PROXY v2 header that announces one of 250 clients."""
    message, answer = plain(serial)
    client, proxy = bytes((198, 51, 100, 1 + serial % 250)), bytes((203, 0, 113, 1))
    addresses = client + proxy + struct.pack("!HH", 1024 + serial % 60_000, 443)
    header = _V2_SIGNATURE + _V2_PROXY_TCP4 + struct.pack("!H", len(addresses)) + addresses
    return header + message, answer


def hello_for(domains: tuple[str, ...]) -> Opening:
    """ClientHellos with each of ``domains`` in turn as their server name."""
    hellos = [client_hello(domain) for domain in domains]
    random_at = 11  # record header 5, handshake header 4, version 2 (RFC 8446, 4.1.2)

    def opening(serial: int) -> tuple[bytes, bytes]:
        hello = hellos[serial % len(hellos)]
        message = hello[:random_at] + b"%032d" % serial + hello[random_at + 32 :]
        return message, message[:SMALL]

    return opening


def client_hello(domain: str) -> bytes:
    """One TLS record with a ClientHello of the usual extensions, padded to ``HELLO`` bytes."""
    name = domain.encode("ascii")
    suites = struct.pack("!6H", 0x1301, 0x1302, 0x1303, 0xC02B, 0xC02F, 0xCCA9)
    extensions = b"".join((
        _extension(0, _sized(b"\x00" + _sized(name))),  # server_name
        _extension(23, b""),  # extended_master_secret
        _extension(10, _sized(struct.pack("!3H", 29, 23, 24))),  # supported_groups: x25519 and two P curves
        _extension(11, b"\x01\x00"),  # ec_point_formats: uncompressed
        _extension(35, b""),  # session_ticket: none yet
        _extension(16, _sized(b"\x02h2\x08http/1.1")),  # ALPN
        _extension(13, _sized(struct.pack("!5H", 0x0403, 0x0804, 0x0401, 0x0503, 0x0805))),  # signatures
        _extension(51, _sized(struct.pack("!H", 29) + _sized(bytes(range(1, 33))))),  # key_share
        _extension(45, b"\x01\x01"),  # psk_key_exchange_modes
        _extension(43, b"\x04\x03\x04\x03\x03"),  # supported_versions: 1.3, 1.2
    ))  # fmt: skip
    fixed = b"\x03\x03" + bytes(32) + b"\x20" + bytes(32) + _sized(suites) + b"\x01\x00"
    room = HELLO - 9 - len(fixed) - 2 - len(extensions) - 4
    body = fixed + _sized(extensions + _extension(21, bytes(room)))
    return b"\x16\x03\x01" + _sized(b"\x01" + struct.pack("!I", len(body))[1:] + body)


def _sized(content: bytes) -> bytes:
    return struct.pack("!H", len(content)) + content


def _extension(number: int, content: bytes) -> bytes:
    return struct.pack("!H", number) + _sized(content)
