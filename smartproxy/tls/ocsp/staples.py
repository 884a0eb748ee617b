"""The OCSP responses that handshakes staple, by certificate.

::

    staples = Staples(time.time)
    staples.source(certificate)     # what the context of a certificate calls in each handshake
    staples.status(certificate)     # for the admin API
    staples.take(fingerprint, der)  # a response that another process has got

It needs no event loop, so contexts can be made before there is one. :mod:`smartproxy.tls.ocsp.stapling` fetches what is
kept here.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from smartproxy.errors import InvalidOcspResponse
from smartproxy.tls.ocsp.messages import read
from smartproxy.tls.ocsp.stapled import Stapled

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.model.certificate_status import ShownStaple
    from smartproxy.tls.certificate import Certificate


class Staples:
    """The OCSP state of certificates.

    :param wall: seconds since the epoch, for the validity of responses.
    :ivar states: by the fingerprint of the certificate, so that a renewed one never gets the response of the former one.
    :ivar wall: as given.
    """

    def __init__(self, wall: Callable[[], float]) -> None:
        self.states: dict[str, Stapled] = {}
        self.wall = wall

    def source(self, certificate: Certificate) -> Callable[[], bytes] | None:
        """A callable that returns the response to staple, or nothing; ``None`` if there will never be one."""
        if self.state(certificate).request is None:
            return None
        return partial(self._staple, certificate.fingerprint)

    def _staple(self, fingerprint: str) -> bytes:
        found = self.states.get(fingerprint)
        # Expiry is checked here and not only in sweeps: after a suspend of the machine none has run yet.
        return b"" if found is None else found.staple(self.wall())

    def take(self, fingerprint: str, der: bytes) -> Stapled | None:
        """Use a response that another process has got and found valid.

        :return: the state of the certificate; ``None`` where it is unknown, or the response is not valid for it here.
        """
        one = self.states.get(fingerprint)
        if one is None or one.request is None:
            return None
        try:
            one.accept(read(der, one.request, self.wall()))
        except InvalidOcspResponse:
            return None
        return one

    def status(self, certificate: Certificate) -> ShownStaple:
        """The state of the response for ``certificate``."""
        return self.state(certificate).status(self.wall())

    def known(self, certificate: Certificate) -> Stapled | None:
        """The state of ``certificate``; ``None`` where it has to be created."""
        found = self.states.get(certificate.fingerprint)
        return found if found is not None and found.is_of(certificate) else None

    def state(self, certificate: Certificate) -> Stapled:
        """The state of ``certificate``; it is created on first use."""
        found = self.known(certificate)
        if found is None:
            found = self.states[certificate.fingerprint] = Stapled(certificate)
        return found
