"""What is told of a certificate that the proxy shows, and of its OCSP response."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

#: ``good``: stapled. ``none``: there is nobody to ask, or no answer yet. ``failed``: there is no answer that can be used.
StapleStatus: TypeAlias = Literal["good", "none", "failed", "revoked"]


class ShownStaple(NamedTuple):
    """The OCSP response of a certificate.

    :ivar next_update: when it ends, in seconds since the epoch. :ivar detail: why there is none, or what is wrong.
    """

    status: StapleStatus
    next_update: float | None = None
    detail: str = ""


class ShownCertificate(NamedTuple):
    """One certificate, for the admin API.

    :ivar source: its files, or how it was made. :ivar expires_at: seconds since the epoch.
    :ivar fingerprint: SHA-256, in hexadecimal. :ivar default: shown where none fits.
    :ivar ocsp: what is stapled to it.
    """

    names: tuple[str, ...]
    source: str
    kind: str
    expires_at: float
    fingerprint: str
    default: bool
    ocsp: ShownStaple = ShownStaple("none")
