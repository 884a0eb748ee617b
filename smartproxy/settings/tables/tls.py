"""The TLS of a listener, of a route and of a target, as far as it is written down.

What stands in the files that are named here is for :mod:`certificates`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, Tag
from pydantic.json_schema import SkipJsonSchema

from smartproxy.settings.tables.base import Table
from smartproxy.settings.tables.types import (
    AlpnName,
    Choice,
    Count,
    FilledText,
    Flag,
    NamePattern,
    Text,
    one_or_list,
    shaped,
    text_or_table,
)

TlsVersion = Literal["1.2", "1.3"]


class Ciphers(Table):
    """What may be negotiated, in OpenSSL's words."""

    ciphers: FilledText = "DEFAULT"
    """Up to TLS 1.2."""
    ciphersuites: FilledText = "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256"
    """For TLS 1.3."""


_PROFILE = shaped(text_or_table, 'must be "intermediate", "modern" or a mapping with ciphers')
Profile = Annotated[
    Annotated[Literal["intermediate", "modern"], Tag("<text>")] | Annotated[Ciphers, Tag("<table>")], _PROFILE
]


class CertificateSettings(Table):
    """A certificate with its chain, and its key. File paths are relative to the configuration file."""

    cert_file: FilledText | None = None
    """A PEM file."""
    key_file: FilledText | None = None
    """A PEM file; without it, the key stands in `certFile`."""
    cert: FilledText | None = None
    """The PEM itself."""
    key: FilledText | None = Field(default=None, repr=False)
    """The PEM itself."""
    pkcs12_file: FilledText | None = None
    """Both in one file."""
    passphrase_file: FilledText | None = None
    """Where the passphrase of an encrypted key stands."""
    passphrase_env: FilledText | None = None
    """The environment variable that holds it."""


_CERTIFICATE = shaped(text_or_table, 'must be a mapping, "selfSigned" or a list of mappings')
OneCertificate = Annotated[
    Annotated[Literal["selfSigned"], Tag("<text>")] | Annotated[CertificateSettings, Tag("<table>")],
    _CERTIFICATE,
]


def _certificate_shape(value: Any) -> str:
    return "<callable>" if callable(value) else one_or_list(value)


Certificates = Annotated[
    Annotated[OneCertificate, Tag("<one>")]
    | Annotated[list[OneCertificate], Field(min_length=1), Tag("<list>")]
    | Annotated[Choice, Tag("<callable>"), SkipJsonSchema()],
    shaped(_certificate_shape, 'must be a mapping, "selfSigned" or a list of mappings'),
]


class ClientAuth(Table):
    """What is asked of the client's own certificate."""

    mode: Literal["none", "request", "require"] = "none"
    """Whether a client is asked for one, and refused without."""
    ca: FilledText | None = None
    """A PEM file of those whose signatures count. Without it a certificate is requested, and not verified."""
    crl: FilledText | None = None
    """A PEM file with the revocation list of every authority in a client's chain."""
    match: list[NamePattern] = Field(default_factory=list)
    """Names of which the certificate must carry one, like `DNS:*.clients.example` or `CN:robot`; empty: any."""


class UpstreamTls(Table):
    """TLS towards a target."""

    ca: FilledText = "system"
    """`system`, or a PEM file of those whose signatures count."""
    server_name: FilledText | None = None
    """The name to ask for and to verify; without it, the target's host."""
    verify: Flag = True
    """Whether the target must prove who it is."""
    cert_file: FilledText | None = None
    """Our own certificate, if the target wants one."""
    key_file: FilledText | None = None
    """Its key; without it, the key stands in `certFile`."""
    alpn: list[AlpnName] = Field(default_factory=list)
    """Protocols to offer."""
    min_version: TlsVersion = "1.2"
    """The oldest version that is spoken."""


class RouteTls(Table):
    """What happens to the client's TLS."""

    mode: Literal["passthrough", "terminate", "terminate-and-reencrypt"] = "passthrough"
    """`passthrough` relays the encrypted bytes as they are."""
    certificate: Certificates | None = Field(
        default=None, json_schema_extra={"x-default": "`tls.certificates`"}
    )
    """The certificate to show, or several: of other kinds (RSA and ECDSA), or for other names. `selfSigned` is made at
    start, for the route's domains. In Python also a callable that is given the name asked for."""
    profile: Annotated[Profile, Field(json_schema_extra={"x-default": "inherited"})] = "intermediate"
    """Mozilla's server side profile, or ciphers of your own."""
    min_version: Annotated[TlsVersion, Field(json_schema_extra={"x-default": "inherited"})] = "1.2"
    """The oldest version that is spoken."""
    alpn: list[AlpnName] = Field(default_factory=list)
    """Protocols to negotiate; without any, none is, and a client that offers some is served all the same."""
    client_auth: ClientAuth | None = None
    """Client certificates."""
    upstream: UpstreamTls | None = None
    """TLS towards the targets, for `terminate-and-reencrypt`."""


class Tls(Table):
    """TLS of the whole proxy."""

    certificates: FilledText | None = None
    """A directory of PEM files, each used for the names that it carries."""
    default: Text | None = None
    """The name whose certificate is shown where none fits; without it, such a client is refused."""
    profile: Profile = "intermediate"
    """Mozilla's server side profile, or ciphers of your own."""
    min_version: TlsVersion = "1.2"
    """The oldest version that is spoken."""
    max_handshakes: Count = 200
    """Handshakes in progress at once."""
    ocsp_stapling: Flag = True
    """Whether proof that a certificate is not revoked is fetched from its authority and shown with it. It is for
    certificates that name a responder and have their issuer in their file."""


#: The keys of a later feature whose own keys are not settled yet.
Unsettled = dict[str, Any]
