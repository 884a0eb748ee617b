"""What is told of a certificate that the proxy shows."""

from __future__ import annotations

from typing import NamedTuple


class ShownCertificate(NamedTuple):
    """One certificate, for the admin API.

    :ivar source: its files, or how it was made. :ivar expires_at: seconds since the epoch.
    :ivar fingerprint: SHA-256, in hexadecimal. :ivar default: shown where none fits.
    """

    names: tuple[str, ...]
    source: str
    kind: str
    expires_at: float
    fingerprint: str
    default: bool
