"""The OCSP state of one certificate: its latest response, the request under way, and the last failure.

Only a response with status *good* is stapled, and only until it expires, as nginx and Caddy do. Status *revoked*
replaces an older *good* response at once; nginx would staple that until it expires. Status *unknown* is a failure, and
an older *good* response stays in use: responders may learn of new certificates late. A response that is older than the
present one is not used, because an attacker on the network could replay one from before a revocation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.errors import OcspRequestImpossible
from smartproxy.model.certificate_status import ShownStaple
from smartproxy.tls.ocsp.messages import OcspRequest, OcspResponse, Status, request_for, responder_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509
    from twisted.internet.defer import Deferred

    from smartproxy.tls.certificate import Certificate


class Stapled:
    """The OCSP state of a certificate. Times are seconds since the epoch unless noted.

    :ivar name: of the certificate, for log lines.
    :ivar request: the request to send; ``None`` if no responder can be asked, and then ``problem`` says why.
    :ivar response: the newest valid response.
    :ivar pending: the request under way.
    :ivar due: when to send the next request, in seconds of the monotonic clock; ``None`` before that is known.
    :ivar failures: how many there were since the last valid response.
    :ivar problem: the last failure since then, or empty.
    :ivar unanswered: whether the last request got no response.
    :ivar rejected: whether there was an unusable response since the last valid one.
    :ivar expired: whether a response expired before there was another.
    """

    __slots__ = (
        "_incomplete", "due", "expired", "failures", "name", "pending", "problem", "rejected", "request", "response", "unanswered",
    )  # fmt: skip

    def __init__(self, certificate: Certificate) -> None:
        self.name = certificate.name
        self.request: OcspRequest | None = None
        self.response: OcspResponse | None = None
        self.pending: Deferred[bytes] | None = None
        self.due: float | None = None
        self.failures = 0
        self.problem = ""
        self.unanswered = self.rejected = self.expired = False
        #: The chain, where it lacks the issuer that a responder could be asked with.
        self._incomplete: Sequence[x509.Certificate] | None = None
        try:
            self.request = request_for(certificate.chain)
        except OcspRequestImpossible as why:
            self.problem = str(why)
            if responder_of(certificate.leaf) is not None:
                self._incomplete = certificate.chain

    def is_of(self, certificate: Certificate) -> bool:
        """Whether it is right for ``certificate``, which has the same leaf: its chain may have the issuer that was missing."""
        return self._incomplete is None or self._incomplete == certificate.chain

    @property
    def url(self) -> str:
        """The responder; empty if there is none."""
        return "" if self.request is None else self.request.url

    def staple(self, now: float) -> bytes:
        """The response to staple at ``now``, or nothing."""
        response = self.response
        if response is None or response.status is not Status.GOOD or response.until <= now:
            return b""
        return response.der

    def has_expired(self, now: float) -> bool:
        """Whether there is a *good* response and it has expired."""
        return (
            self.response is not None and self.response.status is Status.GOOD and self.response.until <= now
        )

    def drop(self) -> None:
        """Drop the expired response."""
        self.response, self.expired = None, True
        self.problem = self.problem or "the response has expired"

    def accept(self, found: OcspResponse) -> OcspResponse | None:
        """Use a valid response unless it is older than the present one. Returns the former one."""
        before = self.response
        if before is None or before.this_update <= found.this_update:
            self.response = found
        self.problem, self.failures, self.rejected, self.expired = "", 0, False, False
        return before

    def cancel(self) -> None:
        """Cancel the request under way, if there is one."""
        pending, self.pending = self.pending, None
        if pending is not None:
            pending.cancel()

    def status(self, now: float) -> ShownStaple:
        """The state for the admin API."""
        response = self.response
        if response is not None and response.status is Status.REVOKED:
            return ShownStaple("revoked", response.until, response.detail)
        if response is not None and self.staple(now):
            return ShownStaple("good", response.until, self.problem)
        if self.request is not None and self.problem:
            return ShownStaple("failed", None, self.problem)
        return ShownStaple("none", None, self.problem or "the responder has not answered yet")
