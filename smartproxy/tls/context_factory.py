"""OpenSSL contexts, made from plans: one for a route's options and one certificate, or for a kind of target.

A context is frozen once it has a connection. Who changes something makes another and lets the old one be: its
connections go on with it.

Tickets are encrypted with keys of the context, and a session is taken up again only on the same one. So
nothing of one context's client authentication can be had through another (CVE-2025-23419); the session id
context says the same once more, for the sessions of TLS 1.2 that have no ticket.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from OpenSSL import SSL
from OpenSSL.crypto import X509, X509StoreFlags

from smartproxy.errors import TlsError
from smartproxy.tls.identity import identity_of, matches
from smartproxy.tls.profiles import PROFILES

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.model.plan import ClientAuthPlan, OriginationPlan, TerminationPlan
    from smartproxy.tls.certificate import Certificate

_VERSIONS: Final = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}
#: SSL_MODE_ENABLE_PARTIAL_WRITE of SSL_CTX_set_mode(3), which pyOpenSSL sets and has no name for.
_PARTIAL_WRITE: Final = 0x1
_OPTIONS: Final = SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION


def server_context(
    plan: TerminationPlan, certificate: Certificate, staple: Callable[[], bytes] | None = None
) -> SSL.Context:
    """A context that ends the TLS of clients.

    :param staple: gives the OCSP response for those that ask for one, or nothing. It must not raise.
    """
    context = _context(SSL.TLS_SERVER_METHOD, plan.min_version)
    profile = PROFILES["intermediate"]
    context.set_cipher_list((plan.ciphers or profile.ciphers).encode())
    context.set_tls13_ciphersuites((plan.ciphersuites or profile.ciphersuites).encode())
    if plan.own_order:
        context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE)
    _show(context, certificate)
    context.set_session_cache_mode(SSL.SESS_CACHE_SERVER)
    context.set_session_id(hashlib.sha256(repr(plan.client_auth).encode()).digest())
    if plan.alpn:
        context.set_alpn_select_callback(_selecting([name.encode("latin-1") for name in plan.alpn]))
    if plan.client_auth is not None:
        _ask(context, plan.client_auth)
    if staple is not None:
        context.set_ocsp_server_callback(lambda *_: staple())
    return context


def client_context(plan: OriginationPlan, certificate: Certificate | None) -> SSL.Context:
    """A context that begins TLS with targets. Their names are for :meth:`ClientContexts.verify`."""
    context = _context(SSL.TLS_CLIENT_METHOD, plan.min_version)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)  # sessions are kept by target, and not by OpenSSL
    if certificate is not None:
        _show(context, certificate)
    if plan.alpn:
        context.set_alpn_protos([name.encode("latin-1") for name in plan.alpn])
    if plan.verify:
        context.set_verify(SSL.VERIFY_PEER, _reporting("certificate of the target"))
        if plan.ca is None:
            context.set_default_verify_paths()
        else:
            _trust(context, plan.ca)
    return context


def _context(method: int, min_version: str) -> SSL.Context:
    context = SSL.Context(method)
    context.set_options(_OPTIONS)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # 34 KiB less for a connection that is idle
    context.clear_mode(_PARTIAL_WRITE)  # or each call would encrypt one record and come back
    context.set_min_proto_version(_VERSIONS[min_version])
    return context


def _show(context: SSL.Context, certificate: Certificate) -> None:
    key: Any = certificate.load_key()
    context.use_certificate(certificate.leaf)
    context.use_privatekey(key)
    for above in certificate.chain[1:]:
        context.add_extra_chain_cert(above)


def _trust(context: SSL.Context, ca: bytes) -> list[x509.Certificate]:
    store = context.get_cert_store()
    assert store is not None  # noqa: S101 - every context has one
    authorities = x509.load_pem_x509_certificates(ca)
    for authority in authorities:
        store.add_cert(X509.from_cryptography(authority))
    return authorities


def _ask(context: SSL.Context, plan: ClientAuthPlan) -> None:
    """Have clients asked for a certificate, and verified."""
    mode = SSL.VERIFY_PEER | (SSL.VERIFY_FAIL_IF_NO_PEER_CERT if plan.required else 0)
    if not plan.ca:
        context.set_verify(mode, lambda *_: True)
        return
    context.set_verify(mode, _reporting("certificate of the client", plan.match))
    for authority in _trust(context, plan.ca):
        context.add_client_ca(authority)
    if plan.crl:
        store = context.get_cert_store()
        assert store is not None  # noqa: S101 - every context has one
        for crl in revocation_lists(plan.crl):
            store.add_crl(crl)
        # Of the whole chain: whoever revokes an authority means those below it, too.
        store.set_flags(X509StoreFlags.CRL_CHECK | X509StoreFlags.CRL_CHECK_ALL)


_CRL_END: Final = b"-----END X509 CRL-----"


def revocation_lists(pem: bytes) -> list[x509.CertificateRevocationList]:
    """All lists of a PEM file.

    :raises ValueError: where there is none, or one is malformed.
    """
    parts = [part + _CRL_END for part in pem.split(_CRL_END)[:-1]]
    if not parts:
        raise ValueError("holds no revocation list in PEM")
    return [x509.load_pem_x509_crl(part) for part in parts]


def _reporting(whose: str, patterns: tuple[str, ...] = ()) -> Callable[..., bool]:
    """A callback that has a failed verification end the handshake with its reason, which OpenSSL keeps to itself."""

    def verified(_connection: Any, shown: X509, error: int, depth: int, ok: int) -> bool:
        if not ok:
            raise TlsError(f"{whose}: {_WORDS.get(error, f'verification failed with X509_V_ERR {error}')}")
        if depth == 0 and not matches(identity_of(shown.to_cryptography(), verified=True), patterns):
            raise TlsError(f"{whose}: carries none of the names wanted")
        return True

    return verified


#: The reasons that occur (openssl-verification-options(1), "Diagnostics").
_WORDS: Final = {
    SSL.X509VerificationCodes.ERR_UNABLE_TO_GET_ISSUER_CERT: "its issuer is not known",
    SSL.X509VerificationCodes.ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "its issuer is not known",
    SSL.X509VerificationCodes.ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE: "its issuer is not known",
    SSL.X509VerificationCodes.ERR_SELF_SIGNED_CERT_IN_CHAIN: "its chain ends in an authority that is not trusted",
    SSL.X509VerificationCodes.ERR_DEPTH_ZERO_SELF_SIGNED_CERT: "it is self-signed",
    SSL.X509VerificationCodes.ERR_CERT_NOT_YET_VALID: "it is not yet valid",
    SSL.X509VerificationCodes.ERR_CERT_HAS_EXPIRED: "it has expired",
    SSL.X509VerificationCodes.ERR_CERT_REVOKED: "it is revoked",
    SSL.X509VerificationCodes.ERR_UNABLE_TO_GET_CRL: "there is no revocation list of its issuer",
    SSL.X509VerificationCodes.ERR_CRL_HAS_EXPIRED: "the revocation list of its issuer has expired",
    SSL.X509VerificationCodes.ERR_CRL_NOT_YET_VALID: "the revocation list of its issuer is not yet valid",
    SSL.X509VerificationCodes.ERR_INVALID_PURPOSE: "it is not for this purpose",
    SSL.X509VerificationCodes.ERR_INVALID_CA: "an issuer in its chain is no authority",
    SSL.X509VerificationCodes.ERR_CERT_SIGNATURE_FAILURE: "its signature is wrong",
}


def _selecting(ours: list[bytes]) -> Callable[..., Any]:
    """Our first protocol that the client offers too. A client that offers others only is served without any."""

    def select(_connection: Any, offered: list[bytes]) -> Any:
        return next((name for name in ours if name in offered), SSL.NO_OVERLAPPING_PROTOCOLS)

    return select
