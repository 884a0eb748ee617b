"""The certificate that answers a TLS-ALPN-01 challenge of ACME (RFC 8737).

::

    plan = challenge_certificate(TlsAnswer("a.example", digest))

An authority that validates a name connects with the ALPN protocol ``acme-tls/1`` and that name as SNI. It is shown a
self-signed certificate for the name with the digest of the key authorization, and closes after the handshake.
"""

from __future__ import annotations

import datetime as dt
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography import x509

from smartproxy.tls.certificate import signed_by_itself

if TYPE_CHECKING:
    from smartproxy.model.plan import CertificatePlan

#: The protocols that an authority offers: this one and no other (RFC 8737, 3).
ACME_TLS: Final = ("acme-tls/1",)
#: id-pe-acmeIdentifier (RFC 8737, 3).
_ACME_IDENTIFIER: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
#: OCTET STRING of 32 bytes, in DER.
_OCTETS_32: Final = bytes([0x04, 32])
_DAY: Final = dt.timedelta(days=1)
#: Certificates that are kept: more than challenges are pending at once.
_KEPT: Final = 128


class TlsAnswer(NamedTuple):
    """What an authority is to be shown.

    :ivar identifier: the name or the address that it validates.
    :ivar digest: SHA-256 of the key authorization.
    """

    identifier: str
    digest: bytes


@lru_cache(_KEPT)
def challenge_certificate(answer: TlsAnswer) -> CertificatePlan:
    """The certificate that answers a challenge: the same for all that ask, because anybody can."""
    now = dt.datetime.now(dt.UTC)
    shown = x509.UnrecognizedExtension(_ACME_IDENTIFIER, _OCTETS_32 + answer.digest)
    valid = now - _DAY, now + _DAY
    return signed_by_itself("acme-tls/1", "ACME challenge", [answer.identifier], valid, (shown, True))
