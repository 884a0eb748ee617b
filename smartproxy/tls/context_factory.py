"""OpenSSL contexts made from plans: for a route's options and one certificate, or for the options of a target.

A context must not be changed once it has a connection. To change something, make another context; connections of the
former one keep it.

A session ticket is encrypted with a key of its context, so a session is resumed on the same context only. That keeps a
session from carrying the client authentication of one context over to another (CVE-2025-23419). A client of TLS 1.2
that takes no ticket resumes nothing: OpenSSL's cache for it is off.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, TypeVar

from cryptography import x509
from OpenSSL import SSL
from OpenSSL.crypto import X509, X509StoreFlags

from smartproxy.errors import TlsError
from smartproxy.tls.identity import identity_of, matches
from smartproxy.tls.profiles import PROFILES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from OpenSSL.SSL import _NoOverlappingProtocols

    from smartproxy.model.plan import ClientAuthPlan, OriginationPlan, TerminationPlan
    from smartproxy.tls.certificate import Certificate

ProtocolT = TypeVar("ProtocolT", str, bytes)

_VERSIONS: Final = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}
#: SSL_MODE_ENABLE_PARTIAL_WRITE of SSL_CTX_set_mode(3). pyOpenSSL sets it but does not export it.
_PARTIAL_WRITE: Final = 0x1
_OPTIONS: Final = SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION


def server_context(
    plan: TerminationPlan, certificate: Certificate, staple: Callable[[], bytes] | None = None
) -> SSL.Context:
    """A context that terminates the TLS of clients.

    :param staple: returns the OCSP response for a client that asks for it, or nothing. It must not raise.
    """
    context = _context(SSL.TLS_SERVER_METHOD, plan.min_version)
    profile = PROFILES["intermediate"]
    context.set_cipher_list((plan.ciphers or profile.ciphers).encode())
    context.set_tls13_ciphersuites((plan.ciphersuites or profile.ciphersuites).encode())
    if plan.own_order:
        context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE)
    _use(context, certificate)
    # The cache is bounded in sessions, not in bytes, and keeps the chain of a client with each for two hours.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    # OpenSSL requires one where clients are authenticated, for tickets too (SSL_CTX_set_session_id_context(3)).
    context.set_session_id(hashlib.sha256(repr(plan.client_auth).encode()).digest())
    if plan.alpn:
        context.set_alpn_select_callback(_selecting([name.encode("latin-1") for name in plan.alpn]))
    if plan.client_auth is not None:
        _ask(context, plan.client_auth)
    if staple is not None:
        context.set_ocsp_server_callback(lambda *_: staple())
    return context


def client_context(plan: OriginationPlan, certificate: Certificate | None) -> SSL.Context:
    """A context for TLS to targets.

    It verifies the chain of a target's certificate; :meth:`ClientContexts.verify` compares the name.
    """
    context = _context(SSL.TLS_CLIENT_METHOD, plan.min_version)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)  # ClientContexts keeps sessions by target
    if certificate is not None:
        _use(context, certificate)
    if plan.alpn:
        context.set_alpn_protos([name.encode("latin-1") for name in plan.alpn])
    if plan.verify:
        context.set_verify(SSL.VERIFY_PEER, _reporting("certificate of the target"))
        if plan.ca is None:
            context.set_default_verify_paths()
        else:
            _trust(context, plan.ca)
            store = context.get_cert_store()
            assert store is not None  # noqa: S101 - every context has one
            # An intermediate, or the target's own certificate, may be trusted without its issuer: as in curl and Go.
            store.set_flags(X509StoreFlags.PARTIAL_CHAIN)
    return context


def _context(method: int, min_version: str) -> SSL.Context:
    context = SSL.Context(method)
    context.set_options(_OPTIONS)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # an idle connection takes 34 KiB less
    context.clear_mode(_PARTIAL_WRITE)  # with it, each call would encrypt one record only
    context.set_min_proto_version(_VERSIONS[min_version])
    return context


def _use(context: SSL.Context, certificate: Certificate) -> None:
    context.use_certificate(certificate.leaf)
    context.use_privatekey(certificate.load_key())
    for above in certificate.chain[1:]:
        context.add_extra_chain_cert(above)


def _trust(context: SSL.Context, ca: bytes) -> list[x509.Certificate]:
    """Trust the authorities of a PEM text, and no others."""
    store = context.get_cert_store()
    assert store is not None  # noqa: S101 - every context has one
    authorities = x509.load_pem_x509_certificates(ca)
    for authority in authorities:
        store.add_cert(X509.from_cryptography(authority))
    return authorities


def _ask(context: SSL.Context, plan: ClientAuthPlan) -> None:
    """Ask clients for a certificate, and verify it as ``plan`` says."""
    mode = SSL.VERIFY_PEER | (SSL.VERIFY_FAIL_IF_NO_PEER_CERT if plan.required else 0)
    if not plan.ca:
        context.set_verify(mode, lambda *_: True)  # any certificate is accepted
        return
    context.set_verify(mode, _reporting("certificate of the client", plan.match))
    for authority in _trust(context, plan.ca):
        context.add_client_ca(authority)
    if plan.crl:
        store = context.get_cert_store()
        assert store is not None  # noqa: S101 - every context has one
        for crl in revocation_lists(plan.crl):
            store.add_crl(crl)
        # CRL_CHECK_ALL checks the whole chain: a revoked authority invalidates every certificate below it.
        store.set_flags(X509StoreFlags.CRL_CHECK | X509StoreFlags.CRL_CHECK_ALL)


_CRL_END: Final = b"-----END X509 CRL-----"


def revocation_lists(pem: bytes) -> list[x509.CertificateRevocationList]:
    """All certificate revocation lists of a PEM text. cryptography only has a parser for a single one.

    :raises ValueError: if there is none, or one is malformed.
    """
    parts = [part + _CRL_END for part in pem.split(_CRL_END)[:-1]]
    if not parts:
        raise ValueError("contains no PEM revocation list")
    return [x509.load_pem_x509_crl(part) for part in parts]


def _reporting(
    whose: str, patterns: tuple[str, ...] = ()
) -> Callable[[SSL.Connection, X509, int, int, int], bool]:
    """A verification callback that fails the handshake with the reason, which OpenSSL's error does not contain.

    :param patterns: the names of which a peer's certificate must have one.
    """

    def verify(_connection: SSL.Connection, certificate: X509, error: int, depth: int, ok: int) -> bool:
        if not ok:
            raise TlsError(f"{whose}: {_REASONS.get(error, f'verification failed with X509_V_ERR {error}')}")
        if depth == 0 and not matches(identity_of(certificate.to_cryptography(), verified=True), patterns):
            raise TlsError(f"{whose}: has none of the names in clientAuth.match")
        return True

    return verify


#: Reasons by OpenSSL's error (openssl-verification-options(1), "Diagnostics").
_REASONS: Final = {
    SSL.X509VerificationCodes.ERR_UNABLE_TO_GET_ISSUER_CERT: "its issuer is unknown",
    SSL.X509VerificationCodes.ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "its issuer is unknown",
    SSL.X509VerificationCodes.ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE: "its issuer is unknown",
    SSL.X509VerificationCodes.ERR_SELF_SIGNED_CERT_IN_CHAIN: "its chain ends in an authority that is not trusted",
    SSL.X509VerificationCodes.ERR_DEPTH_ZERO_SELF_SIGNED_CERT: "it is self-signed",
    SSL.X509VerificationCodes.ERR_CERT_NOT_YET_VALID: "it is not yet valid",
    SSL.X509VerificationCodes.ERR_CERT_HAS_EXPIRED: "it has expired",
    SSL.X509VerificationCodes.ERR_CERT_REVOKED: "it is revoked",
    SSL.X509VerificationCodes.ERR_UNABLE_TO_GET_CRL: "there is no revocation list of its issuer",
    SSL.X509VerificationCodes.ERR_CRL_HAS_EXPIRED: "the revocation list of its issuer has expired",
    SSL.X509VerificationCodes.ERR_CRL_NOT_YET_VALID: "the revocation list of its issuer is not yet valid",
    SSL.X509VerificationCodes.ERR_INVALID_PURPOSE: "it is not valid for this purpose",
    SSL.X509VerificationCodes.ERR_INVALID_CA: "an issuer in its chain is not a certificate authority",
    SSL.X509VerificationCodes.ERR_CERT_SIGNATURE_FAILURE: "its signature is invalid",
}


def first_common(ours: Sequence[ProtocolT], offered: Sequence[ProtocolT]) -> ProtocolT | None:
    """The protocol that is negotiated by ALPN: the first of ours that the client offers; ``None`` without one."""
    return next((name for name in ours if name in offered), None)


def _selecting(
    ours: list[bytes],
) -> Callable[[SSL.Connection, list[bytes]], bytes | _NoOverlappingProtocols]:
    """An ALPN callback that selects our first protocol that the client offers, and none if there is no such."""

    def select(_connection: SSL.Connection, offered: list[bytes]) -> bytes | _NoOverlappingProtocols:
        return first_common(ours, offered) or SSL.NO_OVERLAPPING_PROTOCOLS

    return select
