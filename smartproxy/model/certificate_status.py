"""The state of a certificate in force and of its OCSP response, as the admin API reports it."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

#: ``good``: stapled. ``none``: no responder, or no answer yet. ``failed``: no usable answer.
StapleStatus: TypeAlias = Literal["good", "none", "failed", "revoked"]


class ShownStaple(NamedTuple):
    """The OCSP response of a certificate.

    :ivar next_update: when it expires, in seconds since the epoch.
    :ivar detail: why there is none, or what is wrong with it.
    """

    status: StapleStatus
    next_update: float | None = None
    detail: str = ""


class ShownCertificate(NamedTuple):
    """One certificate, for the admin API.

    :ivar source: its files, or how it was made.
    :ivar expires_at: seconds since the epoch.
    :ivar fingerprint: SHA-256, in hexadecimal.
    :ivar default: whether it is used for names that no other certificate covers.
    :ivar ocsp: its stapled OCSP response.
    """

    names: tuple[str, ...]
    source: str
    kind: str
    expires_at: float
    fingerprint: str
    default: bool
    ocsp: ShownStaple = ShownStaple("none")
