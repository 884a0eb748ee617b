"""Read certificates and keys from files, and reject those that clients would not accept.

::

    plan = CertificateFiles(cert_file="a.pem", key_file="a.key").read()     # InvalidCertificate: what is wrong, and where
    plan = certificate_from_pem(chain, key)                                              # of PEM text

Everything is validated here, once: the key belongs to the certificate, the chain is valid at this time, and no key or
signature is weaker than clients accept. A file that has changed is read in the same way, so that a bad replacement is
never shown to a client.
"""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from smartproxy.errors import InvalidCertificate
from smartproxy.model.plan import CertificatePlan
from smartproxy.tls.certificate import key_type_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

    from smartproxy.tls.certificate import PrivateKey

_PEM: Final = serialization.Encoding.PEM
#: Bits of an RSA key (CA/Browser Forum Baseline Requirements, 6.1.5); OpenSSL's security level 2 has the same minimum.
_MIN_RSA_BITS: Final = 2048
#: Hashes that clients no longer accept in a signature (likewise, 7.1.3.2).
_BROKEN: Final = (hashes.MD5, hashes.SHA1)


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """The files of one certificate: PEM in one file or in two, or PKCS#12."""

    cert_file: str | None = None
    key_file: str | None = None
    pkcs12_file: str | None = None
    passphrase_file: str | None = None
    passphrase_env: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Every file that was given."""
        all_ = (self.cert_file, self.key_file, self.pkcs12_file, self.passphrase_file)
        return tuple(name for name in all_ if name is not None)

    def read(self) -> CertificatePlan:
        """Read and validate the files as they are now.

        :raises InvalidCertificate: if they cannot be used.
        """
        secret = passphrase(self.passphrase_file, self.passphrase_env)
        if self.pkcs12_file is not None:
            chain, key = _pkcs12(self.pkcs12_file, secret)
            return _plan(chain, key, self.pkcs12_file, "pkcs12_file", self)
        assert self.cert_file is not None  # noqa: S101 - settings require one of the two
        chain = certificates_in(contents(self.cert_file, "cert_file"), self.cert_file, "cert_file")
        part = "cert_file" if self.key_file is None else "key_file"
        at = self.key_file or self.cert_file
        key = _key(contents(at, part), secret, at, part)
        return _plan(chain, key, self.cert_file, part, self)


def certificate_from_pem(chain: bytes, key: bytes, secret: bytes | None = None) -> CertificatePlan:
    """The plan for a certificate with its chain, leaf first, and its key.

    :param chain: PEM.
    :param key: PEM.
    :param secret: the passphrase of the key, if it is encrypted.
    :raises InvalidCertificate: if they cannot be used.
    """
    return _plan(certificates_in(chain, "", "cert"), _key(key, secret, "", "key"), "", "key", None)


def passphrase(file: str | None, variable: str | None) -> bytes | None:
    """The passphrase of a key, if one is configured. One final line break in the file is not part of it.

    :param file: the file that holds it.
    :param variable: the environment variable that holds it.
    :raises InvalidCertificate: if it cannot be read.
    """
    if variable is not None:
        value = os.environ.get(variable)
        if value is None:
            raise InvalidCertificate("is not set in the environment", "passphrase_env")
        return value.encode()
    if file is None:
        return None
    return contents(file, "passphrase_file").removesuffix(b"\n").removesuffix(b"\r")


def contents(file: str, part: str = "") -> bytes:
    """The contents of a file.

    :raises InvalidCertificate: if it cannot be read.
    """
    try:
        return Path(file).read_bytes()
    except OSError as problem:
        raise InvalidCertificate(f"{file}: cannot be read: {problem.strerror or problem}", part) from None


def certificates_in(pem: bytes, file: str = "", part: str = "") -> list[x509.Certificate]:
    """All certificates of a PEM text, at least one.

    :raises InvalidCertificate: if there is none, or one is malformed.
    """
    try:
        found = x509.load_pem_x509_certificates(pem)
        for certificate in found:
            # cryptography parses extensions on first use; do it now, so that malformed ones are found here.
            certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        pass
    except ValueError:
        raise InvalidCertificate(
            f"{_at(file)}contains no PEM certificate, or a malformed one", part
        ) from None
    return found


def expiry(certificate: x509.Certificate, now: dt.datetime | None = None) -> str:
    """Why a certificate is not valid at ``now``, by default the present; empty if it is valid."""
    now = now or dt.datetime.now(dt.UTC)
    if certificate.not_valid_after_utc < now:
        return f"expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    if certificate.not_valid_before_utc > now:
        return f"is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
    return ""


def _pkcs12(file: str, secret: bytes | None) -> tuple[list[x509.Certificate], PrivateKey]:
    try:
        held = pkcs12.load_pkcs12(contents(file, "pkcs12_file"), secret)
    except InvalidCertificate:
        raise
    except ValueError:
        why = "wrong passphrase" if secret else "it has a passphrase"
        raise InvalidCertificate(
            f"{file}: cannot be opened: {why}, or it is not PKCS#12", "pkcs12_file"
        ) from None
    if held.cert is None or held.key is None:
        raise InvalidCertificate(f"{file}: must contain a certificate and its key", "pkcs12_file")
    chain = [held.cert.certificate, *(one.certificate for one in held.additional_certs)]
    return chain, cast("PrivateKey", held.key)


def _key(pem: bytes, secret: bytes | None, file: str, part: str) -> PrivateKey:
    try:
        # Full validation of an RSA key takes 50 ms. _plan() compares its public half with the certificate instead.
        key = serialization.load_pem_private_key(pem, secret, unsafe_skip_rsa_key_validation=True)
        # A key of any other type, such as X25519, cannot match a certificate: _plan() rejects it.
        return cast("PrivateKey", key)
    except TypeError:  # encrypted and no passphrase given, or a passphrase given and not encrypted
        if secret is not None:
            return _key(pem, None, file, part)
        why = "is encrypted; set its passphrase with passphraseFile or passphraseEnv"
    except ValueError:
        why = "cannot be decrypted with this passphrase" if secret else "contains no PEM private key"
    except Exception as problem:  # a type of key that cryptography does not support
        why = f"contains a key that cannot be used: {type(problem).__name__}"
    raise InvalidCertificate(f"{_at(file)}{why}", part) from None


def _plan(
    chain: Sequence[x509.Certificate],
    key: PrivateKey,
    file: str,
    part: str,
    files: CertificateFiles | None,
) -> CertificatePlan:
    """Validate what was read. ``part`` is the field that the key came from."""
    leaf, above = chain[0], "cert_file" if part == "key_file" else part
    if _spki(key.public_key()) != _spki(leaf.public_key()):
        raise InvalidCertificate(_mismatch(chain, key, file), part)
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


def _mismatch(chain: Sequence[x509.Certificate], key: PrivateKey, file: str) -> str:
    if any(_spki(one.public_key()) == _spki(key.public_key()) for one in chain):
        return f"{_at(file)}the certificate of the key must come first, then its issuers in order"
    return f"does not match the certificate {file}".rstrip()


def _weakness(certificate: x509.Certificate) -> str:
    """Why clients would not accept a certificate; empty if they do."""
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < _MIN_RSA_BITS:
        return f"has an RSA key of {key.key_size} bits; the minimum is {_MIN_RSA_BITS}"
    # Nobody verifies the signature of a root certificate: it is trusted as it is.
    is_root = certificate.issuer == certificate.subject
    if isinstance(certificate.signature_hash_algorithm, _BROKEN) and not is_root:
        return f"is signed with {certificate.signature_hash_algorithm.name.upper()}"
    try:
        key_type_of(key)
    except ValueError as problem:
        return str(problem)
    return ""


def _spki(key: CertificatePublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _at(file: str) -> str:
    return f"{file}: " if file else ""
