"""TLS of the whole proxy, of a route and of a target.

The files that are named here are read by :mod:`smartproxy.settings.compile.certificates`.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, Tag
from pydantic.json_schema import SkipJsonSchema

from smartproxy.model.plan import CertificateChoice
from smartproxy.settings.tables.base import Table
from smartproxy.settings.tables.rules import Rule
from smartproxy.settings.tables.shapes import one_or_list, shaped, string_or_table
from smartproxy.settings.tables.types import (  # noqa: TC001 - pydantic evaluates annotations
    AlpnNames,
    Count,
    FilePath,
    Flag,
    NamePatterns,
    NonEmptyString,
    ServerName,
    String,
)

TlsVersion = Literal["1.2", "1.3"]


class Ciphers(Table):
    """Ciphers to negotiate, by the names of OpenSSL."""

    ciphers: NonEmptyString = "DEFAULT"
    """Up to TLS 1.2."""
    ciphersuites: NonEmptyString = (
        "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256"
    )
    """For TLS 1.3."""


_PROFILE = shaped(string_or_table, 'must be "intermediate", "modern" or a mapping with ciphers')
Profile = Annotated[
    Annotated[Literal["intermediate", "modern"], Tag("<string>")] | Annotated[Ciphers, Tag("<table>")],
    _PROFILE,
]


class CertificateSettings(Table):
    """A certificate with its chain, and its key. File paths are relative to the configuration file."""

    cert_file: FilePath | None = None
    """A PEM file."""
    key_file: FilePath | None = None
    """A PEM file; without it, the key is in `certFile`."""
    cert: NonEmptyString | None = None
    """The certificate and its chain as PEM."""
    key: NonEmptyString | None = Field(default=None, repr=False)
    """The key as PEM."""
    pkcs12_file: FilePath | None = None
    """A PKCS#12 file with certificate and key."""
    passphrase_file: FilePath | None = None
    """A file with the passphrase of an encrypted key."""
    passphrase_env: NonEmptyString | None = None
    """An environment variable with the passphrase."""


#: The certificate that is ordered, in place of those of files.
AUTO: Final = "auto"
_NEEDED = 'must be a mapping, "auto", "selfSigned" or a list of mappings'


def _check_listed(written: object) -> None:
    if written == AUTO:
        raise ValueError("must be a mapping: an automatic certificate cannot be one of several")
    if written != "selfSigned":
        raise ValueError('must be a mapping or "selfSigned"')


OneCertificate = Annotated[
    Annotated[Literal["selfSigned", "auto"], Tag("<string>")]
    | Annotated[CertificateSettings, Tag("<table>")],
    shaped(string_or_table, _NEEDED),
]
ListedCertificate = Annotated[
    Annotated[Literal["selfSigned"], Rule(_check_listed, const="selfSigned"), Tag("<string>")]
    | Annotated[CertificateSettings, Tag("<table>")],
    shaped(string_or_table, 'must be a mapping or "selfSigned"'),
]


def _certificate_shape(value: object) -> str:
    return "<callable>" if callable(value) else one_or_list(value)


Certificates = Annotated[
    Annotated[OneCertificate, Tag("<one>")]
    | Annotated[list[ListedCertificate], Field(min_length=1), Tag("<list>")]
    | Annotated[CertificateChoice, Tag("<callable>"), SkipJsonSchema()],
    shaped(_certificate_shape, _NEEDED),
]


class ClientAuth(Table):
    """Authentication of clients by certificate."""

    mode: Literal["none", "request", "require"] = "none"
    """Whether a client is asked for a certificate, and refused without one."""
    ca: FilePath | None = None
    """A PEM file of authorities. Without it a certificate is requested, but not verified."""
    crl: FilePath | None = None
    """A PEM file with the revocation list of every authority in a client's chain."""
    match: NamePatterns = Field(default_factory=list)
    """Names of which the certificate must have one, like `DNS:*.clients.example` or `CN:robot`; empty accepts any."""


class UpstreamTls(Table):
    """TLS towards a target."""

    ca: FilePath = "system"
    """A PEM file of authorities, or `system` for those of the operating system. It may hold roots, intermediates, or the
    certificate of the target itself."""
    server_name: ServerName | None = None
    """The name to ask for and to verify; without it, the target's host. `{domain}` is the name in the client's ClientHello,
    or the target's host where it has none; a target that fails TLS for one name is not ejected, because it may serve others."""
    verify: Flag = True
    """Whether the certificate of the target is verified."""
    cert_file: FilePath | None = None
    """A PEM file with the client certificate for the target, where it wants one."""
    key_file: FilePath | None = None
    """Its key; without it, the key is in `certFile`."""
    alpn: AlpnNames = Field(default_factory=list)
    """Protocols to offer."""
    min_version: TlsVersion = "1.2"
    """The oldest version that is accepted."""
    session_reuse: Flag = True
    """Whether the session of a closed connection is resumed by the next one."""


class RouteTls(Table):
    """What happens to the client's TLS."""

    mode: Literal["passthrough", "terminate", "terminate-and-reencrypt"] = "passthrough"
    """`passthrough` relays the encrypted bytes unchanged; the other two decrypt, and the last encrypts again to the target."""
    certificate: Certificates | None = Field(
        default=None, json_schema_extra={"x-default": "`tls.certificates`"}
    )
    """The certificate, or several with different key types (RSA and ECDSA) or names. `selfSigned` is made at start, for the
    domains of the route. `auto` is ordered for them, as `acme` at the top level says, and cannot be one of several. In Python also a
    callable that is given the name that the client asks for."""
    profile: Annotated[Profile, Field(json_schema_extra={"x-default": "inherited"})] = "intermediate"
    """A server-side TLS profile of Mozilla, or your own ciphers."""
    min_version: Annotated[TlsVersion, Field(json_schema_extra={"x-default": "inherited"})] = "1.2"
    """The oldest version that is accepted."""
    alpn: AlpnNames = Field(default_factory=list)
    """Protocols to negotiate. Without any, none is negotiated, and clients that offer some are served as well."""
    client_auth: ClientAuth | None = None
    """Authentication of clients by certificate."""
    upstream: UpstreamTls | None = None
    """TLS towards the targets, for `terminate-and-reencrypt`."""


class Tls(Table):
    """TLS of the whole proxy."""

    certificates: FilePath | None = None
    """A directory of PEM files, each used for the names in it."""
    default: String | None = None
    """The name or IP address whose certificate is used where no certificate fits; without it, such a client is refused."""
    profile: Profile = "intermediate"
    """A server-side TLS profile of Mozilla, or your own ciphers."""
    min_version: TlsVersion = "1.2"
    """The oldest version that is accepted."""
    max_handshakes: Count = 200
    """Handshakes in progress above which each new one closes a stalled one: the oldest of the address that has most. 0 is
    no limit."""
    ocsp_stapling: Flag = True
    """Whether OCSP responses are fetched and stapled. It applies to certificates that name a responder and have their issuer
    in their file."""
