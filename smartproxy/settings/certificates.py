"""What stands in the files that the TLS of a configuration names: read once, checked, and made into plans.

One :class:`TlsFiles` belongs to one look at a configuration. It finds the problems first and gives the plans
then, of the same bytes: a file that changes in between changes nothing.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, TypeVar

from smartproxy.errors import InvalidCertificate
from smartproxy.model.plan import CertificatePlan
from smartproxy.settings.tables.tls import CertificateSettings
from smartproxy.tls import context_factory as making
from smartproxy.tls.certificate_files import CertificateFiles, certificates_in, contents, from_pem, passphrase
from smartproxy.tls.directory import Found, read_directory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path as FilePath

    from smartproxy.settings.tables.tls import UpstreamTls

T = TypeVar("T")


class TlsFiles:
    """The files of one configuration.

    :param directory: what their paths are relative to.
    """

    def __init__(self, directory: FilePath) -> None:
        self._directory = directory
        self._read: dict[object, Any] = {}

    def at(self, name: str) -> str:
        """The path of a file that the configuration names."""
        return str(self._directory / name)

    def certificate(
        self, written: CertificateSettings | str, domains: tuple[str, ...] = ()
    ) -> CertificatePlan:
        """The certificate of a route. ``domains`` are whom a self-signed one is for.

        :raises InvalidCertificate: where it cannot be used.
        """
        if not isinstance(written, CertificateSettings):
            return CertificatePlan("selfSigned", self_signed=True, names=domains)
        if written.cert is not None:
            file = None if written.passphrase_file is None else self.at(written.passphrase_file)
            secret = passphrase(file, written.passphrase_env)
            return from_pem(written.cert.encode(), (written.key or "").encode(), secret)
        return self._from_files(written)

    def own_certificate(self, upstream: UpstreamTls) -> CertificatePlan | None:
        """The certificate that a target is shown.

        :raises InvalidCertificate: where it cannot be used.
        """
        return None if upstream.cert_file is None else self._from_files(upstream)

    def authorities(self, name: str) -> bytes:
        """A PEM file of authorities, found to hold some.

        :raises InvalidCertificate: where it does not.
        """
        return self._once(("ca", name), lambda: self._authorities(self.at(name)))

    def revocations(self, name: str, ca: bytes) -> bytes:
        """A PEM file of revocation lists, found to be in force, and to hold one of each of those authorities.

        :raises InvalidCertificate: where they are not.
        """
        return self._once(("crl", name, ca), lambda: self._revocations(self.at(name), ca))

    def directory(self, name: str) -> Found:
        """Every pair that stands in a directory.

        :raises InvalidCertificate: where it cannot be read.
        """
        return self._once(("directory", name), lambda: read_directory(self.at(name)))

    def _from_files(self, written: Any) -> CertificatePlan:
        said = {
            name: self.at(getattr(written, name))
            for name in ("cert_file", "key_file", "pkcs12_file", "passphrase_file")
            if getattr(written, name, None) is not None
        }
        files = CertificateFiles(**said, passphrase_env=getattr(written, "passphrase_env", None))
        return self._once(files, files.read)

    def _once(self, key: object, read: Callable[[], T]) -> T:
        if key not in self._read:
            try:
                self._read[key] = read()
            except InvalidCertificate as problem:
                self._read[key] = problem
        known: T | InvalidCertificate = self._read[key]
        if isinstance(known, InvalidCertificate):
            raise known
        return known

    @staticmethod
    def _authorities(file: str) -> bytes:
        pem = contents(file)
        certificates_in(pem, file)
        return pem

    @staticmethod
    def _revocations(file: str, ca: bytes) -> bytes:
        pem = contents(file)
        try:
            lists = making.revocation_lists(pem)
        except ValueError:
            raise InvalidCertificate(f"{file}: holds no revocation list in PEM, or a malformed one") from None
        for authority in certificates_in(ca):
            if all(one.issuer != authority.subject for one in lists):
                # Nobody whom this one has vouched for could be let in.
                raise InvalidCertificate(
                    f"{file}: holds no list of {authority.subject.rfc4514_string()}, which is in ca"
                )
        for one in lists:
            until = one.next_update_utc
            if until is not None and until < dt.datetime.now(dt.UTC):
                raise InvalidCertificate(f"{file}: expired on {until:%Y-%m-%d %H:%M} UTC")
        return pem
