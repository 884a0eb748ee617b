"""The certificates that ACME has issued before, in the store of its files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

from smartproxy.acme.storage import AcmeStorage
from smartproxy.errors import InvalidCertificate
from smartproxy.tls.certificate import Certificate

if TYPE_CHECKING:
    from smartproxy.model.plan import CertificatePlan
    from smartproxy.model.plan.acme import AcmePlan

log = Logger()


def stored_certificate(plan: AcmePlan, entry: CertificatePlan) -> Certificate | None:
    """The certificate in the store for an automatic entry; ``None`` where there is none that can be used."""
    try:
        stored = AcmeStorage(plan.store, plan.directory).load(entry.names)
    except InvalidCertificate as problem:
        log.warn(
            "certificate in the ACME store cannot be used, another is ordered: {problem}", problem=problem
        )
        return None
    return None if stored is None else Certificate(stored)
