"""OCSP without a network: what is asked about a certificate, and whether an answer can be believed (RFC 6960).

::

    request = request_for(certificate.chain)    # OcspRequestImpossible says why there is nobody to ask
    response = read(der, request, now)          # InvalidOcspResponse says why it is not to be used

An answer comes over plain HTTP, so nothing about it counts but its signature: it must be the issuer's own, or that
of a responder to whom the issuer gave a certificate for this very purpose (4.2.2.2). That certificate's own
revocation is not looked up: authorities mark it as not to be (4.2.2.2.1), and it lives for weeks. An answer
ends with its nextUpdate, or with that certificate if it is earlier. One that has no nextUpdate is none for
stapling (RFC 5019, 2.2.4).

No nonce is asked for: an answer that is stapled is shown to many, and responders serve answers that they made before.
"""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from smartproxy.errors import InvalidOcspResponse, OcspRequestImpossible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Nobody believes a signature over one of these (CA/Browser Forum Baseline Requirements, 7.1.3.2).
_BROKEN: Final = (hashes.MD5, hashes.SHA1)


class Status(StrEnum):
    """What a response says of a certificate (4.2.1)."""

    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"


class OcspRequest(NamedTuple):
    """A question about ``leaf``. :ivar url: whom to ask. :ivar der: the question, as it is sent."""

    leaf: x509.Certificate
    issuer: x509.Certificate
    url: str
    der: bytes


class OcspResponse(NamedTuple):
    """An answer that can be believed. Times are seconds since the epoch.

    :ivar until: the first moment at which it does not count any more. :ivar detail: when and why it was revoked.
    """

    der: bytes
    status: Status
    this_update: float
    until: float
    detail: str = ""


def request_for(chain: Sequence[x509.Certificate]) -> OcspRequest:
    """The question about the first of ``chain``, which has its issuer in it.

    :raises OcspRequestImpossible: where it cannot be asked.
    """
    leaf = chain[0]
    url = next(_responders(leaf), None)
    if url is None:
        raise OcspRequestImpossible("the certificate names no responder")
    issuer = next((above for above in chain[1:] if _issued(above, leaf)), None)
    if issuer is None:
        raise OcspRequestImpossible("the issuer is not in the file of the certificate")
    # SHA-1 names the certificate here and protects nothing; every responder knows it, and few know another.
    asked = _identified(leaf, issuer, hashes.SHA1())  # noqa: S303 - see above
    return OcspRequest(leaf, issuer, url, asked.public_bytes(serialization.Encoding.DER))


def _responders(leaf: x509.Certificate) -> Iterator[str]:
    """Where the certificate says that its responder is (4.2.2.1 of RFC 5280): over HTTP alone (RFC 6960, A.1)."""
    try:
        access = leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except x509.ExtensionNotFound:
        return
    for described in access:
        place = described.access_location
        if described.access_method == AuthorityInformationAccessOID.OCSP and isinstance(
            place, x509.UniformResourceIdentifier
        ):
            url = place.value
            # It will stand in log lines.
            if url.lower().startswith("http://") and url.isascii() and url.isprintable() and " " not in url:
                yield url


def _identified(
    leaf: x509.Certificate, issuer: x509.Certificate, algorithm: hashes.HashAlgorithm
) -> ocsp.OCSPRequest:
    return ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, algorithm).build()


def _issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def read(der: bytes, request: OcspRequest, now: float) -> OcspResponse:
    """The answer to ``request``, at ``now`` seconds since the epoch.

    :raises InvalidOcspResponse: where it is not to be used.
    """
    try:
        return _read(der, request, dt.datetime.fromtimestamp(now, dt.UTC))
    except InvalidOcspResponse:
        raise
    except Exception as problem:  # what does not parse, and algorithms that cryptography does not know
        raise InvalidOcspResponse(
            f"is malformed, or of a kind that is not known: {type(problem).__name__}"
        ) from None


def _read(der: bytes, request: OcspRequest, now: dt.datetime) -> OcspResponse:
    found = ocsp.load_der_ocsp_response(der)
    if found.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise InvalidOcspResponse(f"is a refusal: {found.response_status.name.lower()}")
    single = next((one for one in found.responses if _is_about(one, request)), None)
    if single is None:
        raise InvalidOcspResponse("is about another certificate")
    signer = _signer(found, request.issuer, now)
    if single.next_update_utc is None:
        raise InvalidOcspResponse("does not say when it ends")
    until = min(single.next_update_utc, signer.not_valid_after_utc)
    if single.this_update_utc > now:
        raise InvalidOcspResponse(f"is not valid before {single.this_update_utc:%Y-%m-%d %H:%M:%S} UTC")
    if until <= now:
        raise InvalidOcspResponse(f"has expired on {until:%Y-%m-%d %H:%M:%S} UTC")
    return OcspResponse(
        der,
        Status(single.certificate_status.name.lower()),
        single.this_update_utc.timestamp(),
        until.timestamp(),
        _revocation(single),
    )


def _is_about(single: ocsp.OCSPSingleResponse, request: OcspRequest) -> bool:
    if single.serial_number != request.leaf.serial_number:
        return False
    asked = _identified(request.leaf, request.issuer, single.hash_algorithm)
    return (single.issuer_name_hash, single.issuer_key_hash) == (
        asked.issuer_name_hash,
        asked.issuer_key_hash,
    )


def _revocation(single: ocsp.OCSPSingleResponse) -> str:
    if single.revocation_time_utc is None:
        return ""
    reason = single.revocation_reason
    why = f", {reason.value}" if reason is not None else ""
    return f"revoked on {single.revocation_time_utc:%Y-%m-%d %H:%M} UTC{why}"


# -- who has signed -----------------------------------------------------------------------------------


def _signer(response: ocsp.OCSPResponse, issuer: x509.Certificate, now: dt.datetime) -> x509.Certificate:
    """Whose signature it is: the issuer, or one whom it has authorised.

    :raises InvalidOcspResponse: where it is nobody's who may.
    """
    named = [one for one in (issuer, *response.certificates) if _is_named(response, one)]
    signer = next((one for one in named if _signed(response, one)), None)
    if signer is None:
        raise InvalidOcspResponse(
            "has a wrong signature" if named else "is signed by somebody who is not known"
        )
    if signer is not issuer and signer != issuer:
        _check_delegate(signer, issuer, now)
    return signer


def _is_named(response: ocsp.OCSPResponse, certificate: x509.Certificate) -> bool:
    """Whether the responder's id (4.2.1) is that of ``certificate``: its name, or SHA-1 of its key."""
    if response.responder_name is not None:
        return response.responder_name == certificate.subject
    identifier = x509.SubjectKeyIdentifier.from_public_key(certificate.public_key())
    return response.responder_key_hash == identifier.digest


def _signed(response: ocsp.OCSPResponse, certificate: x509.Certificate) -> bool:
    """Whether the signature was made with the key of ``certificate``."""
    key, algorithm = certificate.public_key(), response.signature_hash_algorithm
    signature, signed = response.signature, response.tbs_response_bytes
    if isinstance(algorithm, _BROKEN):
        raise InvalidOcspResponse(f"is signed with {algorithm.name.upper()}")
    try:
        if isinstance(key, rsa.RSAPublicKey) and algorithm is not None:
            key.verify(signature, signed, padding.PKCS1v15(), algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey) and algorithm is not None:
            key.verify(signature, signed, ec.ECDSA(algorithm))
        elif isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
            key.verify(signature, signed)
        else:
            return False
    except InvalidSignature:
        return False
    return True


def _check_delegate(delegate: x509.Certificate, issuer: x509.Certificate, now: dt.datetime) -> None:
    """Whether ``issuer`` lets ``delegate`` answer for it (4.2.2.2)."""
    if not _issued(issuer, delegate):
        raise InvalidOcspResponse("is signed by a responder whom the issuer has not authorised")
    try:
        usage = list(delegate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        usage = []
    if ExtendedKeyUsageOID.OCSP_SIGNING not in usage:
        raise InvalidOcspResponse("is signed by a certificate that is not for OCSP")
    if not delegate.not_valid_before_utc <= now < delegate.not_valid_after_utc:
        raise InvalidOcspResponse("is signed by a responder whose certificate is not valid now")
