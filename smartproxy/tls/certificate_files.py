"""Certificates and keys out of files, and everything for which one is not taken.

::

    plan = CertificateFiles(cert_file="a.pem", key_file="a.key").read()     # InvalidCertificate says what and where
    plan = from_pem(chain, key)                                              # of text that somebody has already

What is read is found valid here, once: the key fits, the time is right, nothing is weaker than a client would
take. The same reading happens when a file has changed, so that a bad replacement never gets further than this.
"""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from smartproxy.errors import InvalidCertificate
from smartproxy.model.plan import CertificatePlan
from smartproxy.tls.certificate import kind_of

if TYPE_CHECKING:
    from collections.abc import Sequence

_PEM: Final = serialization.Encoding.PEM
#: CA/Browser Forum Baseline Requirements, 6.1.5; OpenSSL refuses less at its own level 2.
_LEAST_RSA: Final = 2048
#: Likewise 7.1.3.2: nobody believes a signature over one of these.
_BROKEN: Final = (hashes.MD5, hashes.SHA1)


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where a certificate stands: PEM in one file or in two, or PKCS#12."""

    cert_file: str | None = None
    key_file: str | None = None
    pkcs12_file: str | None = None
    passphrase_file: str | None = None
    passphrase_env: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """All of the files."""
        all_ = (self.cert_file, self.key_file, self.pkcs12_file, self.passphrase_file)
        return tuple(name for name in all_ if name is not None)

    def read(self) -> CertificatePlan:
        """What they hold now.

        :raises InvalidCertificate: where that cannot be used.
        """
        secret = passphrase(self.passphrase_file, self.passphrase_env)
        if self.pkcs12_file is not None:
            chain, key = _pkcs12(self.pkcs12_file, secret)
            return _plan(chain, key, self.pkcs12_file, "pkcs12_file", self)
        assert self.cert_file is not None  # noqa: S101 - settings ask for one of the two
        chain = certificates_in(contents(self.cert_file, "cert_file"), self.cert_file, "cert_file")
        part = "cert_file" if self.key_file is None else "key_file"
        at = self.key_file or self.cert_file
        key = _key(contents(at, part), secret, at, part)
        return _plan(chain, key, self.cert_file, part, self)


def from_pem(chain: bytes, key: bytes, secret: bytes | None = None) -> CertificatePlan:
    """A certificate with its chain, leaf first, and its key, as PEM texts.

    :raises InvalidCertificate: where they cannot be used.
    """
    return _plan(certificates_in(chain, "", "cert"), _key(key, secret, "", "key"), "", "key", None)


def passphrase(file: str | None, variable: str | None) -> bytes | None:
    """The passphrase of a key, if one was named. One final end of line is none of it.

    :raises InvalidCertificate: where it is not there.
    """
    if variable is not None:
        said = os.environ.get(variable)
        if said is None:
            raise InvalidCertificate("is not set in the environment", "passphrase_env")
        return said.encode()
    if file is None:
        return None
    return contents(file, "passphrase_file").removesuffix(b"\n").removesuffix(b"\r")


def contents(file: str, part: str = "") -> bytes:
    """All of a file.

    :raises InvalidCertificate: where it cannot be read.
    """
    try:
        return Path(file).read_bytes()
    except OSError as problem:
        raise InvalidCertificate(f"{file}: cannot be read: {problem.strerror or problem}", part) from None


def certificates_in(pem: bytes, file: str = "", part: str = "") -> list[x509.Certificate]:
    """All certificates of a PEM text, at least one.

    :raises InvalidCertificate: where there is none, or one is malformed.
    """
    try:
        found = x509.load_pem_x509_certificates(pem)
        for certificate in found:
            # Parsed when first asked for; a malformed one is to be found now.
            certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        pass
    except ValueError:
        raise InvalidCertificate(
            f"{_at(file)}holds no certificate in PEM, or a malformed one", part
        ) from None
    return found


def expiry(certificate: x509.Certificate, now: dt.datetime | None = None) -> str:
    """Why it is not valid at this time; empty where it is."""
    now = now or dt.datetime.now(dt.UTC)
    if certificate.not_valid_after_utc < now:
        return f"expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    if certificate.not_valid_before_utc > now:
        return f"is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
    return ""


def _pkcs12(file: str, secret: bytes | None) -> tuple[list[x509.Certificate], Any]:
    try:
        held = pkcs12.load_pkcs12(contents(file, "pkcs12_file"), secret)
    except InvalidCertificate:
        raise
    except ValueError:
        how = "its passphrase is another, or it" if secret else "it has a passphrase, or"
        raise InvalidCertificate(f"{file}: cannot be opened: {how} is no PKCS#12", "pkcs12_file") from None
    if held.cert is None or held.key is None:
        raise InvalidCertificate(f"{file}: must hold a certificate and its key", "pkcs12_file")
    return [held.cert.certificate, *(one.certificate for one in held.additional_certs)], held.key


def _key(pem: bytes, secret: bytes | None, file: str, part: str) -> Any:
    try:
        # The mathematics of an RSA key take 50 ms to prove; that it fits its certificate is compared below.
        return serialization.load_pem_private_key(pem, secret, unsafe_skip_rsa_key_validation=True)
    except TypeError:  # encrypted and no passphrase, or the other way round
        if secret is not None:
            return _key(pem, None, file, part)
        why = "is encrypted; name its passphrase with passphraseFile or passphraseEnv"
    except ValueError:
        why = "cannot be decrypted with this passphrase" if secret else "holds no private key in PEM"
    except Exception as problem:  # a key of a kind that cryptography does not know
        why = f"holds a key that cannot be used: {type(problem).__name__}"
    raise InvalidCertificate(f"{_at(file)}{why}", part) from None


def _plan(
    chain: Sequence[x509.Certificate], key: Any, file: str, part: str, files: CertificateFiles | None
) -> CertificatePlan:
    """The plan of what was read, once it has been found valid. ``part``: where the key came from."""
    leaf, above = chain[0], "cert_file" if part == "key_file" else part
    if _spki(key.public_key()) != _spki(leaf.public_key()):
        raise InvalidCertificate(_misfit(chain, key, file), part)
    for certificate in chain:
        why = expiry(certificate) or _weakness(certificate)
        if why:
            which = "" if certificate is leaf else f"its chain: {certificate.subject.rfc4514_string()} "
            raise InvalidCertificate(f"{_at(file)}{which}{why}", above)
    return CertificatePlan(
        source=file or "inline",
        chain=b"".join(certificate.public_bytes(_PEM) for certificate in chain),
        key=key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        files=files.names if files is not None else (),
        reread=files.read if files is not None else None,
    )


def _misfit(chain: Sequence[x509.Certificate], key: Any, file: str) -> str:
    if any(_spki(one.public_key()) == _spki(key.public_key()) for one in chain):
        return f"{_at(file)}the certificate of the key must come first, then those above it"
    return f"does not fit the certificate {file}".rstrip()


def _weakness(certificate: x509.Certificate) -> str:
    """Why clients would not take it; empty where they do. A root's own signature counts for nothing."""
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < _LEAST_RSA:
        return f"has an RSA key of {key.key_size} bits; {_LEAST_RSA} are the least"
    signed_by_itself = certificate.issuer == certificate.subject
    if isinstance(certificate.signature_hash_algorithm, _BROKEN) and not signed_by_itself:
        return f"is signed with {certificate.signature_hash_algorithm.name.upper()}"
    try:
        kind_of(key)
    except ValueError as problem:
        return str(problem)
    return ""


def _spki(key: Any) -> bytes:
    spki: bytes = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return spki


def _at(file: str) -> str:
    return f"{file}: " if file else ""
