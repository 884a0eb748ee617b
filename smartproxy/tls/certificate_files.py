"""Read certificates and keys from files, and reject those that clients would not accept.

::

    plan = CertificateFiles(cert_file="a.pem", key_file="a.key").read()     # InvalidCertificate: what is wrong, and where
    plan = certificate_from_pem(chain, key)                                              # of PEM text

Everything is validated here, once: the key belongs to the certificate, the chain is valid at this time, and no key or
signature is weaker than clients accept. A file that has changed is read in the same way, so that a bad replacement is
never shown to a client.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import PublicKeyAlgorithmOID

from smartproxy.errors import AccessDenied, InvalidCertificate
from smartproxy.files.bounded import read_bounded
from smartproxy.files.states import state_of
from smartproxy.model.plan import CertificatePlan
from smartproxy.tls.certificate import key_type_of, names_of
from smartproxy.tls.validity import expiry, valid_from

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

    from smartproxy.tls.certificate import PrivateKey

#: Bytes of a file: a revocation list of a million entries has 40 MiB.
_MAX_SIZE: Final = 64 << 20
_PEM: Final = serialization.Encoding.PEM
#: Bits of an RSA key (CA/Browser Forum Baseline Requirements, 6.1.5); OpenSSL's security level 2 has the same minimum.
_MIN_RSA_BITS: Final = 2048
#: Hashes that clients no longer accept in a signature (likewise, 7.1.3.2).
_BROKEN: Final = (hashes.MD5, hashes.SHA1)

#: The label of a PEM block.
_LABEL: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")


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
        # Before they are read: a file that is replaced meanwhile is then known to have changed.
        states = tuple(state_of(name) for name in self.names)
        return replace(self._read(), files=self.names, reread=self.read, states=states)

    def _read(self) -> CertificatePlan:
        secret = passphrase(self.passphrase_file, self.passphrase_env)
        if self.pkcs12_file is not None:
            chain, key = _pkcs12(self.pkcs12_file, secret)
            return _plan(chain, key, self.pkcs12_file, "pkcs12_file")
        assert self.cert_file is not None  # noqa: S101 - settings require one of the two
        pem = contents(self.cert_file, "cert_file")
        part = "cert_file" if self.key_file is None else "key_file"
        at = self.key_file or self.cert_file
        key_text = contents(at, part) if self.key_file is not None else pem
        if _are_swapped(pem, key_text):
            why = f"{self.cert_file}: is a private key, and keyFile a certificate: certFile and keyFile are swapped"
            raise InvalidCertificate(why, "cert_file")
        chain = certificates_in(pem, self.cert_file, "cert_file")
        key = _key(key_text, secret, at, part)
        return _plan(chain, key, self.cert_file, part)


def certificate_from_pem(chain: bytes, key: bytes, secret: bytes | None = None) -> CertificatePlan:
    """The plan for a certificate with its chain, leaf first, and its key.

    :param chain: PEM.
    :param key: PEM.
    :param secret: the passphrase of the key, if it is encrypted.
    :raises InvalidCertificate: if they cannot be used.
    :raises TypeError: where one is not bytes.
    """
    for name, pem in {"chain": chain, "key": key, "secret": secret or b""}.items():
        if not isinstance(pem, bytes | bytearray):
            raise TypeError(f"{name} must be bytes (got {type(pem).__name__})")
    if _are_swapped(chain, key):
        raise InvalidCertificate("is a private key, and key a certificate: cert and key are swapped", "cert")
    return _plan(certificates_in(chain, "", "cert"), _key(key, secret, "", "key"), "", "key")


def passphrase(
    file: str | None, variable: str | None, read: Callable[[str, str], bytes] | None = None
) -> bytes | None:
    """The passphrase of a key, if one is configured. One final line break in the file is not part of it.

    :param file: the file that holds it.
    :param variable: the environment variable that holds it.
    :param read: reads the file; :func:`contents` unless given.
    :raises InvalidCertificate: if it cannot be read.
    """
    if variable is not None:
        value = os.environ.get(variable)
        if value is None:
            raise InvalidCertificate(f"{variable} is not set in the environment", "passphrase_env")
        return value.encode()
    if file is None:
        return None
    return (read or contents)(file, "passphrase_file").removesuffix(b"\n").removesuffix(b"\r")


def contents(file: str, part: str = "") -> bytes:
    """The contents of a file.

    :raises AccessDenied: if this user may not read it.
    :raises InvalidCertificate: if it cannot be read for another reason.
    """
    try:
        content = read_bounded(file, _MAX_SIZE)
    except PermissionError as problem:
        raise AccessDenied(f"{file}: cannot be read: {problem.strerror}", part) from None
    except OSError as problem:
        raise InvalidCertificate(f"{file}: cannot be read: {problem.strerror or problem}", part) from None
    if len(content) > _MAX_SIZE:
        raise InvalidCertificate(f"{file}: is larger than {_MAX_SIZE >> 20} MiB", part)
    return content


def certificates_in(pem: bytes, file: str = "", part: str = "") -> list[x509.Certificate]:
    """All certificates of a PEM text, at least one.

    :raises InvalidCertificate: if there is none, or one is malformed.
    """
    try:
        found = x509.load_pem_x509_certificates(pem)
        for certificate in found:
            # cryptography parses extensions on first use; do it now, so that malformed ones are found here.
            _ = certificate.extensions
    except Exception:  # cryptography has classes of its own for several kinds of malformed certificate
        raise InvalidCertificate(
            f"{_at(file)}contains no PEM certificate, or a malformed one{_instead_of_certificate(pem)}", part
        ) from None
    return found


def _are_swapped(chain: bytes, key: bytes) -> bool:
    """Whether the text for the certificate holds only a key, and that for the key only a certificate."""
    return _kinds(chain) == {b"PRIVATE KEY"} and _kinds(key) == {b"CERTIFICATE"}


def _kinds(pem: bytes) -> set[bytes]:
    """What the blocks of a PEM text are (RFC 7468): ``CERTIFICATE``, ``PRIVATE KEY``, ``CERTIFICATE REQUEST`` ..."""
    labels = {label.strip() for label in _LABEL.findall(pem)}
    return {b"PRIVATE KEY" if label.endswith(b"PRIVATE KEY") else label for label in labels}


def _instead_of_certificate(pem: bytes) -> str:
    kinds = _kinds(pem)
    if kinds == {b"PRIVATE KEY"}:
        return "; it holds a private key"
    if b"CERTIFICATE" not in kinds and any(kind.endswith(b"CERTIFICATE REQUEST") for kind in kinds):
        return "; it holds a certificate request, which an authority has to sign first"
    return ""


def _no_key(pem: bytes, part: str) -> str:
    hint = "; name the file of its key with keyFile" if part == "cert_file" else "; it holds a certificate"
    return "contains no PEM private key" + (hint if _kinds(pem) == {b"CERTIFICATE"} else "")


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
        why = "cannot be decrypted with this passphrase" if secret else _no_key(pem, part)
    except Exception as problem:  # a type of key that cryptography does not support
        why = f"contains a key that cannot be used: {type(problem).__name__}"
    raise InvalidCertificate(f"{_at(file)}{why}", part) from None


def _plan(chain: Sequence[x509.Certificate], key: PrivateKey, file: str, part: str) -> CertificatePlan:
    """Validate what was read. ``part`` is the field that the key came from."""
    if public_part(key.public_key()) != public_part(chain[0].public_key()):
        raise InvalidCertificate(_mismatch(chain, key, file), part)
    return plan_of(chain, key_pem(key), file, "cert_file" if part == "key_file" else part)


def plan_of(chain: Sequence[x509.Certificate], key: bytes, file: str = "", part: str = "") -> CertificatePlan:
    """The plan for a chain, leaf first, with the key that belongs to it.

    :param key: PEM, not encrypted.
    :raises InvalidCertificate: if clients would not accept the chain.
    """
    try:
        sent, remarks = _accepted(chain)
        names_of(chain[0])
    except ValueError as problem:
        raise InvalidCertificate(f"{_at(file)}{problem}", part, valid_from(chain)) from None
    except Exception as problem:  # cryptography has classes of its own for what it does not support
        raise InvalidCertificate(f"{_at(file)}cannot be used: {type(problem).__name__}", part) from None
    return CertificatePlan(
        source=file or "inline",
        chain=b"".join(certificate.public_bytes(_PEM) for certificate in sent),
        key=key,
        remarks=tuple(f"{_at(file)}{remark}" for remark in remarks),
    )


def _accepted(chain: Sequence[x509.Certificate]) -> tuple[list[x509.Certificate], list[str]]:
    """The certificates of a chain to send, and remarks about those that are left out.

    At the end of a chain there may be a root, or the certificate of a root that an older root has signed. Clients that
    trust the newer root need neither, and some reject a chain with an expired one. So those are left out.

    :raises ValueError: if another one is not valid.
    """
    sent = list(chain)
    remarks: list[str] = []
    while len(sent) > 1 and (why := _invalidity(sent[-1])):
        remarks.insert(0, f"its chain: {sent[-1].subject.rfc4514_string()} {why}; it is not sent")
        sent.pop()
    leaf = sent[0]
    if leaf.public_key_algorithm_oid == PublicKeyAlgorithmOID.RSASSA_PSS:
        raise ValueError("has an RSA-PSS key, which is not supported; use an RSA or an ECDSA key")
    for certificate in sent:
        why = _invalidity(certificate)
        if why:
            which = "" if certificate is leaf else f"its chain: {certificate.subject.rfc4514_string()} "
            raise ValueError(f"{which}{why}")
    return sent, remarks


def _invalidity(certificate: x509.Certificate) -> str:
    """Why clients would reject a certificate now; empty if they would not."""
    return expiry(certificate) or _weakness(certificate)


def _mismatch(chain: Sequence[x509.Certificate], key: PrivateKey, file: str) -> str:
    if any(public_part(one.public_key()) == public_part(key.public_key()) for one in chain):
        return f"{_at(file)}the certificate of the key must come first, then its issuers in order"
    return f"the key does not match the certificate {file}".rstrip()


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


def public_part(key: CertificatePublicKeyTypes) -> bytes:
    """A public key in DER: equal for a certificate and its private key."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def key_pem(key: PrivateKey) -> bytes:
    """A private key in PEM, not encrypted."""
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _at(file: str) -> str:
    return f"{file}: " if file else ""
