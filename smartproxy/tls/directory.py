"""A directory of certificates: every certificate in it with the private key that belongs to it.

Files are paired by public key, whatever their names and layout: certbot's ``live/NAME/{fullchain,privkey}.pem``,
``NAME.crt`` beside ``NAME.key``, both in one file. Hidden directories and CA certificates without a key are skipped.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from smartproxy.errors import InvalidCertificate
from smartproxy.tls.certificate import names_of
from smartproxy.tls.certificate_files import CertificateFiles, certificates_in, contents

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

    from smartproxy.model.plan import CertificatePlan

#: A public key, and the names of its certificate.
_ChainKey: TypeAlias = tuple[bytes, tuple[str, ...]]

_ENDINGS: Final = frozenset({".pem", ".crt", ".cer", ".key"})
_DER: Final = serialization.Encoding.DER
_SPKI: Final = serialization.PublicFormat.SubjectPublicKeyInfo


class Found(NamedTuple):
    """The contents of a directory.

    :ivar certificates: those that can be used.
    :ivar problems: what is wrong with other files, one line each.
    """

    certificates: tuple[CertificatePlan, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Chain:
    file: str
    certificates: list[x509.Certificate]


def read_directory(directory: str) -> Found:
    """Every pair in ``directory`` and its subdirectories, in the order of file names.

    :raises InvalidCertificate: if ``directory`` is not a directory.
    """
    chains: dict[_ChainKey, _Chain] = {}
    keys: dict[bytes, str] = {}
    problems: list[str] = []
    if not Path(directory).is_dir():
        raise InvalidCertificate(f"{directory}: is not a directory")
    for file in files_in(directory):
        try:
            _sort(file, contents(file), chains, keys)
        except InvalidCertificate as problem:
            problems.append(str(problem))
    certificates: list[CertificatePlan] = []
    for (public, _), chain in chains.items():
        try:
            certificates.extend(_paired(chain, keys.get(public)))
        except InvalidCertificate as problem:
            problems.append(str(problem))
    return Found(tuple(certificates), tuple(problems))


def files_in(directory: str) -> Iterator[str]:
    """Every file in ``directory`` and its subdirectories that may contain a certificate or a key."""
    for folder, inner, names in os.walk(directory):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in sorted(names):
            if Path(name).suffix.lower() in _ENDINGS and not name.startswith("."):
                yield str(Path(folder, name))


def _sort(file: str, text: bytes, chains: dict[_ChainKey, _Chain], keys: dict[bytes, str]) -> None:
    """Enter the contents of a file under its public key. A file may contain both a key and a chain."""
    if b"PRIVATE KEY-----" in text:
        keys.setdefault(_public(_key(file, text).public_key()), file)
    if b"-----BEGIN CERTIFICATE-----" in text:
        chain = _Chain(file, certificates_in(text, file))
        leaf = chain.certificates[0]
        same = _public(leaf.public_key()), names_of(leaf)
        known = chains.get(same)
        if known is None or _rank(chain) > _rank(known):
            chains[same] = chain


def _rank(chain: _Chain) -> tuple[float, int]:
    """Of several with the same key and names, the last to expire is used, in its most complete chain."""
    return chain.certificates[0].not_valid_after_utc.timestamp(), len(chain.certificates)


def _paired(chain: _Chain, key_file: str | None) -> Iterator[CertificatePlan]:
    if key_file is not None:
        yield CertificateFiles(chain.file, None if key_file == chain.file else key_file).read()
    elif not _is_authority(chain.certificates[0]):
        raise InvalidCertificate(f"{chain.file}: there is no private key for it")


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _key(file: str, text: bytes) -> PrivateKeyTypes:
    try:
        return serialization.load_pem_private_key(text, None, unsafe_skip_rsa_key_validation=True)
    except TypeError:
        why = "is encrypted; configure it with its passphrase in the certificate of a route"
    except Exception:  # malformed, or a type of key that cryptography does not support
        why = "contains a private key that cannot be used"
    raise InvalidCertificate(f"{file}: {why}")


def _public(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(_DER, _SPKI)
