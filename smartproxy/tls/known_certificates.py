"""The certificates that a configuration has read from files, so that the next one reads only what has changed.

::

    known = KnownCertificates(former)       # that of the configuration before, if there was one
    plan = known.certificate(files)         # of a route
    plan = known.directory(path)

What the next configuration does not ask for is forgotten with the former one.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509

from smartproxy.flow.pace import Pace
from smartproxy.tls.directory import CertificateDirectory
from smartproxy.tls.folders import has_settled, state_of
from smartproxy.tls.validity import next_change

if TYPE_CHECKING:
    from smartproxy.model.plan import CertificatePlan, DirectoryPlan
    from smartproxy.tls.certificate_files import CertificateFiles


class _ReadCertificate(NamedTuple):
    """A certificate as it was read.

    :ivar is_settled: whether any later change of its files changes their states.
    :ivar until: when it has to be checked again, because a certificate in its chain expires or becomes valid.
    """

    plan: CertificatePlan
    is_settled: bool
    until: float

    def is_current(self) -> bool:
        """Whether the files would be read with the same result now."""
        states = tuple(state_of(file) for file in self.plan.files)
        return self.is_settled and time.time() < self.until and states == self.plan.states


class KnownCertificates:
    """Certificates by their files.

    :param former: those of the configuration before; it may go on being used.
    """

    def __init__(self, former: KnownCertificates | None = None) -> None:
        self._former_read = {} if former is None else former._read  # noqa: SLF001 - our own class
        self._former_directories = {} if former is None else former._directories  # noqa: SLF001 - our own class
        self._read: dict[CertificateFiles, _ReadCertificate] = {}
        self._directories: dict[str, CertificateDirectory] = {}
        self._pace = Pace()

    def certificate(self, files: CertificateFiles) -> CertificatePlan:
        """The certificate in ``files``, read if they have changed.

        :raises InvalidCertificate: if it cannot be used.
        """
        self._pace()
        known = self._read.get(files) or self._former_read.get(files)
        if known is None or not known.is_current():
            plan = files.read()
            chain = x509.load_pem_x509_certificates(plan.chain)
            known = _ReadCertificate(plan, all(map(has_settled, plan.states)), next_change(chain))
        self._read[files] = known
        return known.plan

    def directory(self, path: str) -> DirectoryPlan:
        """The certificates in the directory ``path``; only those are read that have changed.

        :raises InvalidCertificate: if it is not a directory.
        """
        known = self._former_directories.get(path) or CertificateDirectory(path)
        return self._directories.setdefault(path, known).read()
