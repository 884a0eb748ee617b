"""The certificates of a soak: an authority, and a directory that changes while the proxy serves it.

Pairs are replaced in every way that tools use: one file by a rename, a certificate and its key by two, in place and in two
writes, a folder exchanged for another. Beside them appear what a proxy must leave out: expired certificates for the names
of good ones, keys without a certificate, other formats, links to nothing.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DOMAIN = "soak.test"
_PEM = serialization.Encoding.PEM
_GARBAGE = (
    b"",
    b"neither this nor that\n",
    b"-----BEGIN CERTIFICATE-----\nMIIB",
    b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
)


class Authority:
    """Signs certificates; its own is in ``file``."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "ca.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named("soak authority")
        made = _builder(self._name, self._name, self._key, 30)
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.file.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(_PEM))

    def pair(self, name: str, days: int = 30) -> tuple[bytes, bytes, int]:
        """A certificate and its key as PEM, and its serial number.

        :param days: until it expires; negative ones are over.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        made = _builder(_named(name), self._name, key, days)
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        certificate = made.sign(self._key, hashes.SHA256())
        written = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return certificate.public_bytes(_PEM), written, certificate.serial_number


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=60))
        .not_valid_after(now + dt.timedelta(days=days))
    )


class ChangingDirectory:
    """The directory ``tls.certificates``.

    :ivar serials: of the certificate last written, by its name.
    """

    def __init__(self, path: Path, authority: Authority, random: Random) -> None:
        self.path = path
        self.serials: dict[str, int] = {}
        self._authority = authority
        self._random = random
        self._changes: tuple[Callable[[], Awaitable[None]], ...] = (
            self._by_rename,
            self._in_place,
            self._pair_by_two_renames,
            self._exchange_folder,
            self._expired,
            self._garbage,
            self._keyless,
            self._dangling,
        )
        path.mkdir()
        self._write(path / "secure.pem", self._joined("secure"))
        certificate, key = self._new("reencrypt")
        self._write(path / "reencrypt.crt", certificate)
        self._write(path / "reencrypt.key", key)
        (path / "live").mkdir()
        self._write(path / "live" / "inside.pem", self._joined("inside"))

    async def change(self) -> None:
        """Make one change, at random."""
        await self._random.choice(self._changes)()

    def _new(self, name: str) -> tuple[bytes, bytes]:
        certificate, key, self.serials[name] = self._authority.pair(f"{name}.{DOMAIN}")
        return certificate, key

    def _joined(self, name: str) -> bytes:
        return b"".join(self._new(name))

    @staticmethod
    def _write(path: Path, data: bytes) -> None:
        """Replace a file atomically."""
        new = path.with_name("." + path.name)
        new.write_bytes(data)
        new.replace(path)

    async def _by_rename(self) -> None:
        self._write(self.path / "secure.pem", self._joined("secure"))

    async def _in_place(self) -> None:
        data = self._joined("secure")
        half = len(data) // 2
        with (self.path / "secure.pem").open("wb") as file:
            file.write(data[:half])
            file.flush()
            await asyncio.sleep(self._random.uniform(0, 0.3))
            file.write(data[half:])

    async def _pair_by_two_renames(self) -> None:
        certificate, key = self._new("reencrypt")
        self._write(self.path / "reencrypt.crt", certificate)
        await asyncio.sleep(self._random.uniform(0, 0.3))
        self._write(self.path / "reencrypt.key", key)

    async def _exchange_folder(self) -> None:
        new, old = self.path / ".new", self.path / ".old"
        new.mkdir()
        self._write(new / "inside.pem", self._joined("inside"))
        (self.path / "live").rename(old)
        new.rename(self.path / "live")
        shutil.rmtree(old)

    async def _expired(self) -> None:
        name = self._random.choice(list(self.serials))
        certificate, key, _ = self._authority.pair(f"{name}.{DOMAIN}", days=-1)
        self._put("expired.pem", certificate + key)

    async def _garbage(self) -> None:
        self._put("garbage.pem", self._random.choice(_GARBAGE))

    async def _keyless(self) -> None:
        certificate, key, _ = self._authority.pair(f"keyless.{DOMAIN}")
        self._put("keyless.crt", certificate)
        self._put("stray.key", key)

    async def _dangling(self) -> None:
        link = self.path / "dangling.pem"
        if link.is_symlink():
            link.unlink()
        else:
            link.symlink_to("nowhere.pem")

    def _put(self, name: str, data: bytes) -> None:
        """Put a file where there is none, else remove it."""
        path = self.path / name
        if path.exists():
            path.unlink()
        else:
            self._write(path, data)
