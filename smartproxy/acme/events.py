"""What happened to an automatic certificate, for programs that embed the proxy."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

CertificateEventKind: TypeAlias = Literal["issued", "renewed", "failed"]


class CertificateEvent(NamedTuple):
    """An order has ended.

    :ivar kind: ``issued`` for the first certificate of these names, ``renewed`` for a later one, ``failed``.
    :ivar names: of the certificate.
    :ivar detail: why it failed; empty where it did not.
    """

    kind: CertificateEventKind
    names: tuple[str, ...]
    detail: str = ""
