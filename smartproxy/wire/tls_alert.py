"""Unencrypted TLS alerts (RFC 8446, 6), with which a proxy refuses a client that has sent its ClientHello.

Before keys are negotiated an alert is seven plain bytes. TLS clients report it by name, while a connection that is
just closed looks like a network failure.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from smartproxy.wire import tls_record
from smartproxy.wire.verdict import Done, Malformed, NeedMore, Verdict


class Level(IntEnum):
    """Severity. Since TLS 1.3 it is ignored, and the description alone counts (RFC 8446, 6)."""

    WARNING = 1
    FATAL = 2


class Alert(IntEnum):
    """Every alert of RFC 8446, 6 (``AlertDescription``)."""

    CLOSE_NOTIFY = 0
    UNEXPECTED_MESSAGE = 10
    BAD_RECORD_MAC = 20
    RECORD_OVERFLOW = 22
    HANDSHAKE_FAILURE = 40
    BAD_CERTIFICATE = 42
    UNSUPPORTED_CERTIFICATE = 43
    CERTIFICATE_REVOKED = 44
    CERTIFICATE_EXPIRED = 45
    CERTIFICATE_UNKNOWN = 46
    ILLEGAL_PARAMETER = 47
    UNKNOWN_CA = 48
    ACCESS_DENIED = 49
    DECODE_ERROR = 50
    DECRYPT_ERROR = 51
    PROTOCOL_VERSION = 70
    INSUFFICIENT_SECURITY = 71
    INTERNAL_ERROR = 80
    INAPPROPRIATE_FALLBACK = 86
    USER_CANCELED = 90
    MISSING_EXTENSION = 109
    UNSUPPORTED_EXTENSION = 110
    UNRECOGNIZED_NAME = 112
    BAD_CERTIFICATE_STATUS_RESPONSE = 113
    UNKNOWN_PSK_IDENTITY = 115
    CERTIFICATE_REQUIRED = 116
    NO_APPLICATION_PROTOCOL = 120


class AlertMessage(NamedTuple):
    """One alert."""

    description: Alert
    level: Level = Level.FATAL


_HEAD = 5  # type, version (2), length (2)
_BODY = 2  # level, description
#: Bytes of an unencrypted alert.
SIZE = _HEAD + _BODY


def build(description: Alert, level: Level | None = None) -> bytes:
    """Build the record. ``level`` defaults to that of RFC 8446, 6: warning for ``close_notify``, else fatal."""
    if level is None:
        level = Level.WARNING if description is Alert.CLOSE_NOTIFY else Level.FATAL
    return tls_record.wrap(tls_record.ALERT, bytes([level, description]))


def in_words(description: Alert) -> str:
    """The name of an alert as in RFC 8446, for a log."""
    return f"alert {description.name.lower()}"


def parse(data: bytes | bytearray | memoryview) -> Verdict[AlertMessage]:
    """Parse the alert at the beginning of ``data``: unencrypted, and alone in its record."""
    held = bytes(data[:SIZE])
    if not bytes([tls_record.ALERT, 3]).startswith(held[:2]):
        return Malformed("not a TLS alert record")
    if not _BODY.to_bytes(2, "big").startswith(held[3:_HEAD]):
        return Malformed("alert record of a wrong size")
    if len(held) < SIZE:
        return NeedMore(SIZE)
    try:
        return Done(AlertMessage(Alert(held[6]), Level(held[5])), len(held))
    except ValueError:
        return Malformed("unknown alert")
