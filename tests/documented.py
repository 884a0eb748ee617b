"""Creates the files that the configurations of the documentation and of ``tap/`` name, in a test's directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

from tests.tls.made import Authority

if TYPE_CHECKING:
    from pathlib import Path

    from tests.tls.made import Leaf

_PASSPHRASE = b"secret"
#: The names of each certificate in the directory of certificates.
_NAMES = (
    ("www.example.com", "example.com"),
    ("*.example.com",),
    ("account.example.com",),
    ("machines.example.com",),
)


def write_files(directory: Path) -> None:
    """Create all files; pages and examples use the same names for the same files."""
    for site in ("www", "app"):
        (directory / site).mkdir()
        (directory / site / "index.html").write_text("<h1>Welcome</h1>\n")
    authority, clients = Authority("intermediate", above=Authority()), Authority("clients")
    shop = authority.leaf("shop.localhost")
    old = authority.leaf("shop.example.com", kind="rsa")
    for name, leaf in {"shop": shop, "shop-rsa": old, "backend": authority.leaf("backend.localhost")}.items():
        _pair(directory, name, leaf)
    for names in _NAMES:
        place = directory / "certificates" / names[0].replace("*", "any")
        place.mkdir(parents=True)
        _pair(place, "leaf", authority.leaf(*names))
    held = pkcs12.serialize_key_and_certificates(
        b"shop", old.key, old.certificate, old.above, BestAvailableEncryption(_PASSPHRASE)
    )
    for name, said in {
        "other.key": authority.leaf(number=1).key_pem,
        "targets-ca.pem": authority.pem,
        "clients-ca.pem": clients.pem,
        "clients.crl.pem": clients.crl(),
        "shop.p12": held,
        "shop.pass": _PASSPHRASE + b"\n",
        "internal-ca.pem": authority.pem,
        "dns.sh": b"#!/bin/sh\n",
    }.items():
        (directory / name).write_bytes(said)
    (directory / "dns.sh").chmod(0o700)


def _pair(directory: Path, name: str, leaf: Leaf) -> None:
    (directory / f"{name}.pem").write_bytes(leaf.pem)
    (directory / f"{name}.key").write_bytes(leaf.key_pem)
