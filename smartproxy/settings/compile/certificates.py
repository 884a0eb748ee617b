"""The TLS files that a configuration names: read once, checked, and compiled to plans."""

from __future__ import annotations

import datetime as dt
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from smartproxy.errors import InvalidCertificate
from smartproxy.files.states import state_of
from smartproxy.model.plan import CertificatePlan
from smartproxy.settings.tables.tls import CertificateSettings
from smartproxy.tls.certificate_files import (
    CertificateFiles,
    certificate_from_pem,
    certificates_in,
    passphrase,
)
from smartproxy.tls.context_factory import revocation_lists
from smartproxy.tls.known_certificates import KnownCertificates

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from smartproxy.model.plan import DirectoryPlan, FileState
    from smartproxy.settings.tables.tls import UpstreamTls

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")


class TlsFiles:
    """The TLS files of one configuration. Each is read once, and its content or its problem remembered.

    :param directory: what their paths are relative to.
    :param former: what the configuration before has read; only what has changed is read again.
    :ivar known: what this one has read.
    """

    def __init__(self, directory: Path, former: KnownCertificates | None = None) -> None:
        self._directory = directory
        self.known = KnownCertificates(former)
        self._certificates: _Once[CertificateFiles, CertificatePlan] = _Once()
        self._authorities: _Once[str, bytes] = _Once()
        self._revocations: _Once[tuple[str, bytes], bytes] = _Once()
        self._directories: _Once[str, DirectoryPlan] = _Once()
        #: The files read so far whose change requires another plan, with their state before they were read: all but the
        #: certificates that clients are shown.
        self.watched: dict[str, FileState | None] = {}

    def path_of(self, name: str) -> str:
        """The path of a file that the configuration names."""
        return str(self._directory / name)

    def certificate(
        self, written: CertificateSettings | str, domains: tuple[str, ...] = ()
    ) -> CertificatePlan:
        """The certificate of a route.

        :param domains: the names for which a self-signed one is made.
        :raises InvalidCertificate: where it cannot be used.
        """
        if not isinstance(written, CertificateSettings):
            return CertificatePlan("selfSigned", self_signed=True, names=domains)
        if written.cert is not None:
            secret = passphrase(
                self._optional(written.passphrase_file), written.passphrase_env, self.known.contents
            )
            return certificate_from_pem(written.cert.encode(), (written.key or "").encode(), secret)
        return self._read(
            CertificateFiles(
                cert_file=self._optional(written.cert_file),
                key_file=self._optional(written.key_file),
                pkcs12_file=self._optional(written.pkcs12_file),
                passphrase_file=self._optional(written.passphrase_file),
                passphrase_env=written.passphrase_env,
            )
        )

    def own_certificate(self, upstream: UpstreamTls) -> CertificatePlan | None:
        """The client certificate that is shown to a target.

        :raises InvalidCertificate: where it cannot be used.
        """
        if upstream.cert_file is None:
            return None
        files = CertificateFiles(
            cert_file=self._optional(upstream.cert_file), key_file=self._optional(upstream.key_file)
        )
        for file in (files.cert_file, files.key_file):
            self._watch(file)
        return self._read(files)

    def authorities(self, name: str) -> bytes:
        """A PEM file with at least one certificate of an authority.

        :raises InvalidCertificate: where it has none.
        """
        self._watch(self.path_of(name))
        return self._authorities.get(name, lambda: self._read_authorities(self.path_of(name)))

    def revocations(self, name: str, ca: bytes) -> bytes:
        """A PEM file with revocation lists: one of each authority in ``ca``, none of them expired when the file was first read.

        A list that has expired since does not prevent a reload: its clients are refused with and without it.

        :raises InvalidCertificate: where one is missing or expired.
        """
        self._watch(self.path_of(name))
        return self._revocations.get((name, ca), lambda: self._read_revocations(self.path_of(name), ca))

    def directory(self, name: str) -> DirectoryPlan:
        """All certificates in a directory.

        :raises InvalidCertificate: where it cannot be read.
        """
        return self._directories.get(name, partial(self.known.directory, self.path_of(name)))

    def _read(self, files: CertificateFiles) -> CertificatePlan:
        return self._certificates.get(files, partial(self.known.certificate, files))

    def _read_authorities(self, file: str) -> bytes:
        pem = self.known.contents(file)
        certificates_in(pem, file)
        return pem

    def _read_revocations(self, file: str, ca: bytes) -> bytes:
        pem = self.known.contents(file)
        _check_revocations(file, pem, ca)
        if not self.known.is_as_before(file):
            _check_dates(file, pem)
        return pem

    def _watch(self, file: str | None) -> None:
        if file is not None and file not in self.watched:
            self.watched[file] = state_of(file)

    def _optional(self, name: str | None) -> str | None:
        return None if name is None else self.path_of(name)


class _Once(Generic[KeyT, ValueT]):
    """Remembers what was read by its key, or why it could not be used."""

    def __init__(self) -> None:
        self._known: dict[KeyT, ValueT | InvalidCertificate] = {}

    def get(self, key: KeyT, read: Callable[[], ValueT]) -> ValueT:
        """What ``read`` returned the first time.

        :raises InvalidCertificate: where it raised that.
        """
        if key not in self._known:
            try:
                self._known[key] = read()
            except InvalidCertificate as problem:
                self._known[key] = problem
        known = self._known[key]
        if isinstance(known, InvalidCertificate):
            raise known
        return known


def _check_revocations(file: str, pem: bytes, ca: bytes) -> None:
    """Refuse what is no list, and a missing list of an authority in ``ca``."""
    try:
        lists = revocation_lists(pem)
    except ValueError:
        raise InvalidCertificate(f"{file}: contains no PEM revocation list, or a malformed one") from None
    issuers = {one.issuer for one in lists}
    for authority in certificates_in(ca):
        # OpenSSL checks the revocation of every certificate in a chain: without the list of its authority, no client
        # certificate of that authority would be accepted.
        if authority.subject not in issuers:
            name = authority.subject.rfc4514_string()
            raise InvalidCertificate(f"{file}: contains no revocation list of {name}, which is in ca")


def _check_dates(file: str, pem: bytes) -> None:
    """Refuse a list that has expired."""
    for one in revocation_lists(pem):
        until = one.next_update_utc
        if until is not None and until < dt.datetime.now(dt.UTC):
            raise InvalidCertificate(f"{file}: expired on {until:%Y-%m-%d %H:%M} UTC")
