"""When certificates are valid."""

from __future__ import annotations

import datetime as dt
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography import x509


def expiry(certificate: x509.Certificate, now: dt.datetime | None = None) -> str:
    """Why a certificate is not valid at ``now``, by default the present; empty if it is valid."""
    now = now or dt.datetime.now(dt.UTC)
    if certificate.not_valid_after_utc < now:
        return f"expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    if certificate.not_valid_before_utc > now:
        return f"is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
    return ""


def valid_from(chain: Iterable[x509.Certificate]) -> float | None:
    """When the last of these certificates becomes valid, in seconds since the epoch; ``None`` if that has passed."""
    at = max(one.not_valid_before_utc.timestamp() for one in chain)
    return at if at > time.time() else None


def next_change(chain: Iterable[x509.Certificate]) -> float:
    """The next time at which one of these certificates expires or becomes valid, in seconds since the epoch."""
    now = time.time()
    times = (at.timestamp() for one in chain for at in (one.not_valid_before_utc, one.not_valid_after_utc))
    return min((at for at in times if at > now), default=now)
