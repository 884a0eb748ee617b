"""One certificate that is shown, and the OCSP response that is stapled to it: what is there, and what went wrong.

Only a response that says *good* is stapled, and only until it ends. So do nginx and Caddy; but where nginx lets an
older good one run to its end when the answer is *revoked*, it is dropped here: we know better. An answer *unknown*
is a failure, and an older good one goes on: responders are late to hear of new certificates. An answer that is
older than what is at hand is not taken, or somebody on the way could bring back a time before a revocation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.errors import OcspRequestImpossible
from smartproxy.model.certificate_status import ShownStaple
from smartproxy.tls.ocsp.messages import OcspRequest, OcspResponse, Status, request_for

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from smartproxy.tls.certificate import Certificate


class Stapled:
    """What :class:`~smartproxy.tls.ocsp.stapling.Stapling` knows of a certificate. Times are seconds since the epoch.

    :ivar request: what to ask, or ``None``, and then ``trouble`` says why.
    :ivar response: the newest answer that could be believed. :ivar asking: the one that is under way.
    :ivar due: when to ask, by the clock that measures intervals. :ivar failures: since an answer was believed.
    :ivar trouble: what went wrong last, since then.
    :ivar silent: the responder gave no answer. :ivar refused: it gave one that was not to be used.
    :ivar lapsed: the response has ended before there was another.
    """

    __slots__ = (
        "asking", "due", "failures", "lapsed", "name", "refused", "request", "response", "silent", "trouble",
    )  # fmt: skip

    def __init__(self, certificate: Certificate) -> None:
        self.name = certificate.name
        self.request: OcspRequest | None = None
        self.response: OcspResponse | None = None
        self.asking: Deferred[bytes] | None = None
        self.due = 0.0
        self.failures = 0
        self.trouble = ""
        self.silent = self.refused = self.lapsed = False
        try:
            self.request = request_for(certificate.chain)
        except OcspRequestImpossible as why:
            self.trouble = str(why)

    @property
    def url(self) -> str:
        """The responder; empty where there is none."""
        return "" if self.request is None else self.request.url

    def staple(self, now: float) -> bytes:
        """What a client may be shown at ``now``, if anything."""
        response = self.response
        if response is None or response.status is not Status.GOOD or response.until <= now:
            return b""
        return response.der

    def has_ended(self, now: float) -> bool:
        """Whether there is a good response that has come to its end."""
        return (
            self.response is not None and self.response.status is Status.GOOD and self.response.until <= now
        )

    def drop(self) -> None:
        """The response has come to its end."""
        self.response, self.lapsed = None, True
        self.trouble = self.trouble or "the response has expired"

    def take(self, found: OcspResponse) -> OcspResponse | None:
        """``found`` can be believed. Gives what was there before."""
        before = self.response
        if before is None or before.this_update <= found.this_update:
            self.response = found
        self.trouble, self.failures, self.refused, self.lapsed = "", 0, False, False
        return before

    def give_up(self) -> None:
        """Whatever is being asked is not wanted any more."""
        asking, self.asking = self.asking, None
        if asking is not None:
            asking.cancel()

    def shown(self, now: float) -> ShownStaple:
        """What a person is told."""
        response = self.response
        if response is not None and response.status is Status.REVOKED:
            return ShownStaple("revoked", response.until, response.detail)
        if response is not None and self.staple(now):
            return ShownStaple("good", response.until, self.trouble)
        if self.request is not None and self.trouble:
            return ShownStaple("failed", None, self.trouble)
        return ShownStaple("none", None, self.trouble or "the responder has not answered yet")
