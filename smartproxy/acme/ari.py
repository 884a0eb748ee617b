"""When to renew a certificate, as its directory suggests (ACME Renewal Information, RFC 9773).

::

    identifier = certificate_id(leaf)                       # in the URL of the question, and in "replaces" of the next order
    info = await client.renewal_info(identifier)
    at = moment(info.window, random.random)

The moment is random, so that the renewals of many certificates spread out. A window in the past means: now.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography import x509

from smartproxy.acme.jose import base64url
from smartproxy.acme.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.acme.documents import AcmeDocument

#: Seconds until the next question: bounds, and what applies if the directory names none (RFC 9773, 4.3).
MIN_INTERVAL: Final = 60.0
MAX_INTERVAL: Final = 86400.0
DEFAULT_INTERVAL: Final = 6 * 3600.0


class RenewalWindow(NamedTuple):
    """Within which to renew; seconds since the epoch."""

    start: float
    end: float


class RenewalInfo(NamedTuple):
    """What a directory suggests for one certificate.

    :ivar retry_after: seconds until it should be asked again.
    :ivar explanation: URL of a page for the operator, or empty.
    """

    window: RenewalWindow
    retry_after: float
    explanation: str = ""


def certificate_id(leaf: x509.Certificate) -> str | None:
    """Identifies a certificate (RFC 9773, 4.1); ``None`` if it does not name the key of its issuer."""
    try:
        authority = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    except (x509.ExtensionNotFound, ValueError):  # none, or malformed
        return None
    if authority.key_identifier is None:
        return None
    serial = leaf.serial_number
    # As in DER: with a leading zero byte if the first bit is set.
    encoded = serial.to_bytes(serial.bit_length() // 8 + 1, "big")
    return f"{base64url(authority.key_identifier)}.{base64url(encoded)}"


def read_renewal_info(found: AcmeDocument, wanted: float | None) -> RenewalInfo:
    """The information in an answer.

    :param wanted: seconds in its Retry-After, or ``None``.
    :raises AcmeError: if it is malformed, or its window does not end after its start (RFC 9773, 4.2).
    """
    window = found.document("suggestedWindow")
    start, end = (_seconds(window, key) for key in ("start", "end"))
    if end <= start:
        raise window.malformed("end", "after the start")
    after = DEFAULT_INTERVAL if wanted is None else min(max(wanted, MIN_INTERVAL), MAX_INTERVAL)
    explanation = found.get("explanationURL")
    return RenewalInfo(
        RenewalWindow(start, end), after, one_line(explanation) if isinstance(explanation, str) else ""
    )


def _seconds(window: AcmeDocument, key: str) -> float:
    """A time of RFC 3339 in seconds since the epoch."""
    try:
        found = dt.datetime.fromisoformat(window.text(key).upper())
        if found.tzinfo is not None:
            return found.timestamp()
    except (ValueError, OverflowError):
        pass
    raise window.malformed(key, "a time with its zone")


def moment(window: RenewalWindow, chance: Callable[[], float]) -> float:
    """A random moment in the window (RFC 9773, 4.2), in seconds since the epoch.

    :param chance: returns a random number from 0 to 1.
    """
    return window.start + chance() * (window.end - window.start)
