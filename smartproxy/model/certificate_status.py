"""The state of a certificate in force and of its OCSP response, as the admin API reports it."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

#: ``good``: stapled. ``none``: no responder, or no answer yet. ``failed``: no usable answer.
StapleStatus: TypeAlias = Literal["good", "none", "failed", "revoked"]

#: ``issued``: there is a certificate. ``waiting``: there is none, and an order is due.
AcmeState: TypeAlias = Literal["issued", "waiting", "ordering", "failed"]


class ShownStaple(NamedTuple):
    """The OCSP response of a certificate.

    :ivar next_update: when it expires, in seconds since the epoch.
    :ivar detail: why there is none, or what is wrong with it.
    """

    status: StapleStatus
    next_update: float | None = None
    detail: str = ""


class ShownAcme(NamedTuple):
    """What ACME does for a certificate.

    :ivar state: ``ordering`` while an order is in progress; ``failed`` where the last one failed.
    :ivar next_try: when the next order is made, in seconds since the epoch; ``None`` while one is in progress.
    :ivar last_error: why the last order failed, one line; empty where it did not, or there was none.
    :ivar last_error_at: when it failed, in seconds since the epoch.
    :ivar failures: orders that have failed since the last one that did not.
    :ivar on_demand: whether it was ordered because a client asked for the name.
    """

    state: AcmeState
    next_try: float | None = None
    last_error: str = ""
    last_error_at: float | None = None
    failures: int = 0
    on_demand: bool = False


class ShownCertificate(NamedTuple):
    """One certificate, for the admin API.

    :ivar source: its files, or how it was made.
    :ivar kind: of its key; empty where there is no certificate yet.
    :ivar expires_at: seconds since the epoch; ``None`` where there is no certificate yet.
    :ivar fingerprint: SHA-256, in hexadecimal.
    :ivar default: whether it is used for names that no other certificate covers.
    :ivar ocsp: its stapled OCSP response.
    :ivar acme: for one that is ordered by ACME.
    """

    names: tuple[str, ...]
    source: str
    kind: str
    expires_at: float | None
    fingerprint: str
    default: bool
    ocsp: ShownStaple = ShownStaple("none")
    acme: ShownAcme | None = None
