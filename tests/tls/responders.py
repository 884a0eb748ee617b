"""OCSP responders for tests, with valid and invalid responses, and a fetch function that a test answers."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from twisted.internet.defer import Deferred

from tests.tls import made as certificates
from tests.tls.made import DAY, Leaf, builder, key, named

if TYPE_CHECKING:
    from tests.tls.made import Authority

URL = "http://ocsp.example/"
HOUR = dt.timedelta(hours=1)
GOOD, REVOKED, UNKNOWN = (getattr(ocsp.OCSPCertStatus, name) for name in ("GOOD", "REVOKED", "UNKNOWN"))
#: Responses are dated to the second.
NOW = certificates.NOW.replace(microsecond=0)


class Responder:
    """Makes responses for certificates of ``authority``, signed by ``delegate`` or by the authority itself."""

    def __init__(self, authority: Authority, delegate: Leaf | None = None) -> None:
        self.authority = authority
        self.certificate = authority.certificate if delegate is None else delegate.certificate
        self.key = authority.key if delegate is None else delegate.key
        self.carried = () if delegate is None else (delegate.certificate,)

    def answer(
        self,
        leaf: Leaf,
        status: ocsp.OCSPCertStatus = GOOD,
        *,
        start: dt.timedelta = -HOUR,
        end: dt.timedelta | None = 7 * HOUR,
        issuer: x509.Certificate | None = None,
        by_key: bool = False,
        algorithm: Any = None,
    ) -> bytes:
        revoked = status is REVOKED
        made = (
            ocsp.OCSPResponseBuilder()
            .add_response(
                leaf.certificate,
                issuer or self.authority.certificate,
                algorithm or hashes.SHA1(),  # noqa: S303 - it only identifies the certificate
                status,
                NOW + start,
                None if end is None else NOW + end,
                NOW - DAY if revoked else None,
                x509.ReasonFlags.key_compromise if revoked else None,
            )
            .responder_id(
                ocsp.OCSPResponderEncoding.HASH if by_key else ocsp.OCSPResponderEncoding.NAME,
                self.certificate,
            )
        )
        if self.carried:
            made = made.certificates(self.carried)
        own = isinstance(self.key, ed25519.Ed25519PrivateKey)  # it has a hash of its own
        signed = made.sign(self.key, None if own else hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.DER)


def delegate(
    authority: Authority,
    *,
    usage: Any = ExtendedKeyUsageOID.OCSP_SIGNING,
    name: str = "responder",
    kind: str = "ec",
    start: dt.timedelta = -DAY,
    end: dt.timedelta = DAY,
) -> Leaf:
    """A certificate of a responder. With ``usage`` None it has no extended key usage."""
    own = key(kind, 7)
    made = builder(named(name), authority.subject, own, start, end)
    if usage is not None:
        made = made.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    return Leaf(made.sign(authority.key, hashes.SHA256()), own)


class Asked:
    """A fetch function that a test answers.

    :ivar questions: the URL and request of each call.
    :ivar waiting: the Deferreds that have no result yet.
    :ivar cancelled: how many were cancelled.
    :ivar at_once: the result of new calls, bytes or an exception; ``None`` lets them wait.
    """

    def __init__(self) -> None:
        self.questions: list[tuple[str, bytes]] = []
        self.waiting: list[Deferred[bytes]] = []
        self.cancelled = 0
        self.at_once: Any = None

    def __call__(self, url: str, request: bytes) -> Deferred[bytes]:
        self.questions.append((url, request))
        waiting: Deferred[bytes] = Deferred(self._cancelled)
        if self.at_once is None:
            self.waiting.append(waiting)
        else:
            self._answer(waiting, self.at_once)
        return waiting

    def _cancelled(self, waiting: Deferred[bytes]) -> None:
        self.cancelled += 1
        self.waiting.remove(waiting)

    def answer(self, what: Any, number: int = 0) -> None:
        """Give the result of the oldest waiting call, or of another one."""
        self._answer(self.waiting.pop(number), what)

    def _answer(self, waiting: Deferred[bytes], what: Any) -> None:
        if isinstance(what, Exception):
            waiting.errback(what)
        else:
            waiting.callback(what)
