"""What one file in a directory of certificates contains: a chain, a private key, both, or nothing that can be used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from smartproxy.errors import AccessDenied, InvalidCertificate
from smartproxy.tls.certificate import names_of
from smartproxy.tls.certificate_files import certificates_in, contents, key_pem, public_part

if TYPE_CHECKING:
    from smartproxy.tls.certificate import PrivateKey

#: Bytes of a file. A chain has a few KiB, and a bundle of all public authorities 250 KiB.
_MAX_SIZE: Final = 4 << 20


class FileContent(NamedTuple):
    """The content of a file.

    :ivar chain: its certificates, the leaf first; or none.
    :ivar names: of the leaf.
    :ivar public: the public key of the leaf.
    :ivar key: its private key in PEM, or nothing.
    :ivar key_public: the public part of that.
    :ivar problem: why the file cannot be used; it begins with the file.
    :ivar is_denied: whether that is because this user may not read it.
    """

    chain: tuple[x509.Certificate, ...] = ()
    names: tuple[str, ...] = ()
    public: bytes = b""
    key: bytes = b""
    key_public: bytes = b""
    problem: str = ""
    is_denied: bool = False

    @property
    def rank(self) -> tuple[float, int]:
        """Of several with the same key and names, the one with the greatest rank is preferred."""
        return self.chain[0].not_valid_after_utc.timestamp(), len(self.chain)

    @property
    def is_authority(self) -> bool:
        """Whether the first certificate is that of an authority."""
        try:
            return self.chain[0].extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        except x509.ExtensionNotFound:
            return False


def read_content(file: str) -> FileContent:
    """Read a file. What is wrong with it is in the result."""
    try:
        return _parsed(file)
    except InvalidCertificate as problem:
        return FileContent(problem=str(problem), is_denied=isinstance(problem, AccessDenied))
    except Exception as problem:  # cryptography has classes of its own for what it does not support
        return FileContent(problem=f"{file}: cannot be used: {type(problem).__name__}")


def _parsed(file: str) -> FileContent:
    text = _contents(file)
    found = FileContent()
    if b"PRIVATE KEY-----" in text:
        key = _key(file, text)
        found = found._replace(key=key_pem(key), key_public=public_part(key.public_key()))
    if b"-----BEGIN CERTIFICATE-----" in text:
        chain = certificates_in(text, file)
        public = public_part(chain[0].public_key())
        found = found._replace(chain=tuple(chain), names=names_of(chain[0]), public=public)
    if not found.key and not found.chain:
        raise InvalidCertificate(f"{file}: contains no PEM certificate and no PEM private key")
    return found


def _contents(file: str) -> bytes:
    try:
        size = Path(file).stat().st_size
    except OSError:
        size = 0  # contents() says why
    if size > _MAX_SIZE:
        raise InvalidCertificate(f"{file}: is larger than {_MAX_SIZE >> 20} MiB")
    return contents(file)


def _key(file: str, text: bytes) -> PrivateKey:
    if b"BEGIN OPENSSH PRIVATE KEY" in text:
        raise InvalidCertificate(
            f"{file}: is an OpenSSH key; TLS needs a key in PKCS#8 or the older PEM formats"
        )
    try:
        key = serialization.load_pem_private_key(text, None, unsafe_skip_rsa_key_validation=True)
        return cast("PrivateKey", key)
    except TypeError:
        why = "is encrypted; configure it with its passphrase in the certificate of a route"
    except Exception:  # malformed, or a type of key that cryptography does not support
        why = "contains a private key that cannot be used"
    raise InvalidCertificate(f"{file}: {why}")
