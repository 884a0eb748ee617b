"""The certificates that a configuration has read from files, so that the next one reads only what has changed.

::

    known = KnownCertificates(former)       # that of the configuration before, if there was one
    plan = known.certificate(files)         # of a route
    plan = known.directory(path)
    text = known.contents(file)             # of any other file

What the next configuration does not ask for is forgotten with the former one.

A proxy that was started by root and runs as another user may have read files that it may not read again. What was read of
such a file is kept for as long as no change of it can be seen, so that it does not prevent a reload of something else. So
is a certificate of a route that has expired since it was read: it stays in use, as it would without the reload. The same
holds for a revocation list.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509

from smartproxy.errors import AccessDenied, InvalidCertificate
from smartproxy.files.states import has_settled, may_be_unchanged, state_of
from smartproxy.flow.pace import Pace
from smartproxy.tls.certificate_files import contents
from smartproxy.tls.directory import CertificateDirectory
from smartproxy.tls.validity import next_change

if TYPE_CHECKING:
    from smartproxy.model.plan import CertificatePlan, DirectoryPlan, FileState
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
        return self.is_settled and time.time() < self.until and self.is_unchanged()

    def is_unchanged(self) -> bool:
        """Whether no change of the files since they were read can be seen."""
        return self.plan.states == tuple(map(state_of, self.plan.files))

    def may_be_current(self) -> bool:
        """Whether no change of the files can be seen, where this user may not read them."""
        states = zip(self.plan.files, self.plan.states, strict=True)
        return all(may_be_unchanged(state, state_of(file)) for file, state in states)


class _Renewable:
    """The certificate of some files as it was last read: by a configuration, or because the files have changed since.

    Configurations share it for as long as the files are as they were last read.

    :raises InvalidCertificate: if it cannot be used.
    """

    __slots__ = ("_files", "latest")

    def __init__(self, files: CertificateFiles) -> None:
        self._files = files
        self.latest = self._read()

    def _read(self) -> _ReadCertificate:
        plan = replace(self._files.read(), reread=self._reread)
        chain = x509.load_pem_x509_certificates(plan.chain)
        return _ReadCertificate(plan, all(map(has_settled, plan.states)), next_change(chain))

    def _reread(self) -> CertificatePlan:
        self.latest = self._read()
        return self.latest.plan


class _ReadText(NamedTuple):
    """A file as it was read, and its state before."""

    text: bytes
    state: FileState | None


class KnownCertificates:
    """Certificates by their files, and the contents of other files.

    :param former: those of the configuration before; it may go on being used.
    """

    def __init__(self, former: KnownCertificates | None = None) -> None:
        self._former_read = {} if former is None else former._read  # noqa: SLF001 - our own class
        self._former_directories = {} if former is None else former._directories  # noqa: SLF001 - our own class
        self._read: dict[CertificateFiles, _Renewable] = {}
        self._directories: dict[str, CertificateDirectory] = {}
        self._former_texts = {} if former is None else former._texts  # noqa: SLF001 - our own class
        self._texts: dict[str, _ReadText] = {}
        self._pace = Pace()

    @property
    def files(self) -> set[str]:
        """Every file that was read."""
        in_directories = (file for directory in self._directories.values() for file in directory.files)
        return {*self._texts, *in_directories, *(file for files in self._read for file in files.names)}

    def certificate(self, files: CertificateFiles) -> CertificatePlan:
        """The certificate in ``files``, read if they have changed.

        :raises InvalidCertificate: if it cannot be used.
        """
        self._pace()
        known = self._read.get(files) or self._former_read.get(files)
        if known is None or not known.latest.is_current():
            known = self._read_anew(files, known)
        self._read[files] = known
        return known.latest.plan

    def _read_anew(self, files: CertificateFiles, known: _Renewable | None) -> _Renewable:
        try:
            return _Renewable(files)
        except AccessDenied:
            if known is None or not known.latest.may_be_current():
                raise
            return known
        except InvalidCertificate:
            if known is None or not known.latest.is_unchanged():
                raise
            return known

    def contents(self, file: str, part: str = "") -> bytes:
        """The contents of a file that is not a certificate for clients.

        :param part: as of :func:`~smartproxy.tls.certificate_files.contents`.
        :raises InvalidCertificate: if it cannot be read.
        """
        state = state_of(file)
        known = self._texts.get(file) or self._former_texts.get(file)
        try:
            known = _ReadText(contents(file, part), state)
        except AccessDenied:
            if known is None or not may_be_unchanged(known.state, state):
                raise
        self._texts[file] = known
        return known.text

    def is_as_before(self, file: str) -> bool:
        """Whether a file that :meth:`contents` has read has the same content as in the configuration before."""
        former, known = self._former_texts.get(file), self._texts.get(file)
        return former is not None and known is not None and former.text == known.text

    def directory(self, path: str) -> DirectoryPlan:
        """The certificates in the directory ``path``; only those are read that have changed.

        :raises InvalidCertificate: if it is not a directory.
        """
        known = self._former_directories.get(path) or CertificateDirectory(path)
        return self._directories.setdefault(path, known).read()
