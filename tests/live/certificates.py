"""Certificates for the peers of a test: an authority, and the certificates that it signs."""

from __future__ import annotations

import copy
import datetime as dt
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

_LIFE = dt.timedelta(days=1)
_KEYS = {
    "ecdsa": lambda: ec.generate_private_key(ec.SECP256R1()),
    "rsa": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
}


class Authority:
    """A certificate authority that writes ``ca.pem``, and ``NAME.pem`` with certificate and key, to ``directory``."""

    def __init__(self, directory):
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named("live authority")
        made = _builder(self._name, self._name, self._key)
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.file = directory / "ca.pem"
        self.file.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(_PEM))

    def certificate(self, name, kind="ecdsa", ocsp=None):
        """Write a certificate for ``name`` and its key to one file, and return its path.

        :param kind: of the key: ``ecdsa``, or ``rsa``, for which the file is ``NAME-rsa.pem``.
        :param ocsp: URL of the responder; the file then also contains the authority's certificate.
        """
        key = _KEYS[kind]()
        made = _builder(_named(name), self._name, key)
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        if ocsp is not None:
            made = made.add_extension(_responder(ocsp), critical=False)
        path = self._directory / (f"{name}.pem" if kind == "ecdsa" else f"{name}-{kind}.pem")
        path.write_bytes(
            made.sign(self._key, hashes.SHA256()).public_bytes(_PEM)
            + (self.file.read_bytes() if ocsp is not None else b"")
            + _written(key)
        )
        return path

    def key_file(self):
        """Write the authority's own key, for a responder that signs with it."""
        path = self._directory / "ca.key"
        path.write_bytes(_written(self._key))
        return path

    def writing_to(self, directory):
        """The same authority, writing to another directory."""
        twin = copy.copy(self)
        twin._directory = directory
        return twin

    def server(self, name):
        """A server context with a certificate for ``name``."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate(name))
        return context

    def client(self):
        """A client context that trusts this authority, and tells an end of the connection from one of TLS.

        Python's own contexts do so from 3.11.4 on.
        """
        context = ssl.create_default_context(cafile=str(self.file))
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
        return context


_PEM = serialization.Encoding.PEM


def _written(key):
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _responder(url):
    where = x509.UniformResourceIdentifier(url)
    return x509.AuthorityInformationAccess(
        [x509.AccessDescription(AuthorityInformationAccessOID.OCSP, where)]
    )


def _named(name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(subject, issuer, key):
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _LIFE)
        .not_valid_after(now + _LIFE)
    )
