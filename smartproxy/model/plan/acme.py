"""Compiled settings of automatic certificates (ACME, RFC 8555)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, TypeAlias

KeyKind: TypeAlias = Literal["ecdsa-p256", "rsa-2048"]

#: A program's callable that changes the DNS: called with ``present`` or ``cleanup``, the name of a TXT record with its final
#: dot, and its value. It returns when the record can be read, or an awaitable that does. One that raises fails the challenge.
DnsChange: TypeAlias = Callable[[str, str, str], object | Awaitable[object]]

#: A program's callable that approves a name: called with it, returns a true value, or an awaitable of one.
Approval: TypeAlias = Callable[[str], object | Awaitable[object]]


class ChallengeType(StrEnum):
    """How control over a name is proven (RFC 8555, 8; RFC 8737)."""

    HTTP_01 = "http-01"
    TLS_ALPN_01 = "tls-alpn-01"
    DNS_01 = "dns-01"


@dataclass(frozen=True, slots=True)
class ExternalAccount:
    """The credentials by which a directory knows its customer (RFC 8555, 7.3.4).

    :ivar hmac_key: decoded.
    """

    key_id: str
    hmac_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class OnDemandPlan:
    """Certificates for names that are ordered when a client first asks for one.

    :ivar ask: a URL, which is asked with ``?domain=NAME`` and approves with a status of 200 to 299; or a callable.
    :ivar max_per_hour: orders in any hour.
    """

    ask: str | Approval
    max_per_hour: int = 20


@dataclass(frozen=True, slots=True)
class AcmePlan:
    """How certificates are ordered.

    :ivar directory: URL of the directory.
    :ivar store: path of the directory with account, keys and certificates; absolute.
    :ivar email: for messages of the authority to the operator; or ``None``.
    :ivar ca: PEM of the authorities that the directory's own certificate is verified with; ``None`` for those of the system.
    :ivar challenges: those that may be used, the preferred one first; for a wildcard only ``dns-01`` is.
    :ivar renew_before: seconds before its expiry at which a certificate is renewed; ``None`` is a third of its lifetime.
    :ivar http_port: the port on which ``http-01`` is answered.
    :ivar listens: addresses on which to listen for ``http-01`` because no route does; empty where a route listens on the port.
    :ivar dns: changes the DNS for ``dns-01``: the path of a command, or a callable; ``None`` where there is neither.
    :ivar profile: to ask for (draft-ietf-acme-profiles); ``None`` asks for none.
    :ivar until: what a client gets before there is a certificate.
    """

    directory: str
    store: str
    email: str | None = None
    ca: bytes | None = None
    challenges: tuple[ChallengeType, ...] = (ChallengeType.HTTP_01, ChallengeType.TLS_ALPN_01)
    key_type: KeyKind = "ecdsa-p256"
    renew_before: float | None = None
    external_account: ExternalAccount | None = None
    http_port: int = 80
    listens: tuple[str, ...] = ()
    dns: str | DnsChange | None = None
    profile: str | None = None
    until: Literal["refuse", "selfSigned"] = "refuse"
    on_demand: OnDemandPlan | None = None
