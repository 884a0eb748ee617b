"""OCSP requests and the validation of responses, without a network (RFC 6960).

::

    request = request_for(certificate.chain)    # OcspRequestImpossible: why no responder can be asked
    response = read(der, request, now)          # InvalidOcspResponse: why it must not be used

A response comes over plain HTTP, so only its signature proves anything. It must be the signature of the issuer, or of a
responder with a certificate that the issuer made for this purpose (4.2.2.2). Whether that certificate is revoked is
not checked: authorities mark it as not to be checked (4.2.2.2.1), and it is valid for a few weeks. A response is valid
until its nextUpdate, or until the responder's certificate expires if that is earlier. A response without nextUpdate
cannot be stapled (RFC 5019, 2.2.4).

Requests have no nonce: a stapled response is shown to many clients, and responders serve pre-produced responses.
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

#: Hashes that clients no longer accept in a signature (CA/Browser Forum Baseline Requirements, 7.1.3.2).
_BROKEN: Final = (hashes.MD5, hashes.SHA1)


class Status(StrEnum):
    """The status of a certificate in a response (4.2.1)."""

    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"


class OcspRequest(NamedTuple):
    """A request for the status of a certificate.

    :ivar leaf: the certificate.
    :ivar issuer: its issuer, whose key verifies the response.
    :ivar url: the responder.
    :ivar der: the request as it is sent.
    """

    leaf: x509.Certificate
    issuer: x509.Certificate
    url: str
    der: bytes


class OcspResponse(NamedTuple):
    """A validated response. Times are seconds since the epoch.

    :ivar der: as it was received, and as it is stapled.
    :ivar status: of the certificate.
    :ivar this_update: when the status was known to be right.
    :ivar until: the first moment at which it is no longer valid.
    :ivar detail: when and why the certificate was revoked; else empty.
    """

    der: bytes
    status: Status
    this_update: float
    until: float
    detail: str = ""


def request_for(chain: Sequence[x509.Certificate]) -> OcspRequest:
    """The request for the first certificate of ``chain``, which must contain its issuer.

    :raises OcspRequestImpossible: if no responder can be asked.
    """
    leaf = chain[0]
    url = responder_of(leaf)
    if url is None:
        raise OcspRequestImpossible("the certificate names no responder")
    issuer = next((above for above in chain[1:] if _issued(above, leaf)), None)
    if issuer is None:
        raise OcspRequestImpossible("the issuer is not in the file of the certificate")
    # SHA-1 only identifies the certificate here. Every responder supports it, and few support another hash.
    asked = _identifying(leaf, issuer, hashes.SHA1())  # noqa: S303 - see above
    return OcspRequest(leaf, issuer, url, asked.public_bytes(serialization.Encoding.DER))


def responder_of(leaf: x509.Certificate) -> str | None:
    """The URL of the responder that a certificate names; ``None`` if it names none."""
    return next(_responders(leaf), None)


def _responders(leaf: x509.Certificate) -> Iterator[str]:
    """The URLs of responders in the certificate (RFC 5280, 4.2.2.1), as far as they are plain HTTP (RFC 6960, A.1)."""
    try:
        access = leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except x509.ExtensionNotFound:
        return
    for described in access:
        location = described.access_location
        if described.access_method == AuthorityInformationAccessOID.OCSP and isinstance(
            location, x509.UniformResourceIdentifier
        ):
            url = location.value
            # It is logged, so it must be printable ASCII on one line.
            if url.lower().startswith("http://") and url.isascii() and url.isprintable() and " " not in url:
                yield url


def _identifying(
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
    """Validate the response to ``request``, at ``now`` seconds since the epoch.

    :raises InvalidOcspResponse: if it must not be used.
    """
    try:
        return _read(der, request, dt.datetime.fromtimestamp(now, dt.UTC))
    except InvalidOcspResponse:
        raise
    except Exception as problem:  # malformed DER, or algorithms that cryptography does not support
        raise InvalidOcspResponse(
            f"is malformed or of an unsupported kind: {type(problem).__name__}"
        ) from None


def _read(der: bytes, request: OcspRequest, now: dt.datetime) -> OcspResponse:
    found = ocsp.load_der_ocsp_response(der)
    if found.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise InvalidOcspResponse(f"is an error: {found.response_status.name.lower()}")
    single = next((one for one in found.responses if _is_about(one, request)), None)
    if single is None:
        raise InvalidOcspResponse("is about another certificate")
    signer = _signer(found, request.issuer, now)
    if single.next_update_utc is None:
        raise InvalidOcspResponse("has no nextUpdate")
    until = min(single.next_update_utc, signer.not_valid_after_utc)
    if single.this_update_utc > now:
        raise InvalidOcspResponse(f"is not valid before {single.this_update_utc:%Y-%m-%d %H:%M:%S} UTC")
    if until <= now:
        raise InvalidOcspResponse(f"expired on {until:%Y-%m-%d %H:%M:%S} UTC")
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
    asked = _identifying(request.leaf, request.issuer, single.hash_algorithm)
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


# -- the signature ------------------------------------------------------------------------------------


def _signer(response: ocsp.OCSPResponse, issuer: x509.Certificate, now: dt.datetime) -> x509.Certificate:
    """The certificate that verifies the signature: the issuer's, or that of a responder that it authorised.

    :raises InvalidOcspResponse: if there is no such certificate.
    """
    named = [one for one in (issuer, *response.certificates) if _is_named(response, one)]
    signer = next((one for one in named if _signed(response, one)), None)
    if signer is None:
        raise InvalidOcspResponse(
            "has an invalid signature" if named else "is signed by an unknown responder"
        )
    if signer is not issuer and signer != issuer:
        _check_delegate(signer, issuer, now)
    return signer


def _is_named(response: ocsp.OCSPResponse, certificate: x509.Certificate) -> bool:
    """Whether the responder ID (4.2.1) is that of ``certificate``: its subject, or the SHA-1 of its key."""
    if response.responder_name is not None:
        return response.responder_name == certificate.subject
    identifier = x509.SubjectKeyIdentifier.from_public_key(certificate.public_key())
    return response.responder_key_hash == identifier.digest


def _signed(response: ocsp.OCSPResponse, certificate: x509.Certificate) -> bool:
    """Whether the key of ``certificate`` verifies the signature.

    :raises InvalidOcspResponse: if it was made over a hash that is no longer accepted.
    """
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
    """Check that ``issuer`` has authorised ``delegate`` to sign responses (4.2.2.2).

    :raises InvalidOcspResponse: if it has not.
    """
    if not _issued(issuer, delegate):
        raise InvalidOcspResponse("is signed by a responder that the issuer has not authorised")
    try:
        usage = list(delegate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        usage = []
    if ExtendedKeyUsageOID.OCSP_SIGNING not in usage:
        raise InvalidOcspResponse("is signed with a certificate that is not for OCSP signing")
    if not delegate.not_valid_before_utc <= now < delegate.not_valid_after_utc:
        raise InvalidOcspResponse("is signed by a responder whose certificate is not valid now")
