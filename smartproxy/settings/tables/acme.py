"""Automatic certificates: ``acme`` at the top level.

A route asks for one with ``certificate: auto``. What contradicts itself is found in :mod:`smartproxy.settings.checks.acme`, and
:mod:`smartproxy.settings.compile.acme` makes an :class:`~smartproxy.model.plan.AcmePlan` of it.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from inspect import isclass
from typing import Annotated, Final, Literal, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from pydantic import Field

from smartproxy.model.plan import Approval, DnsChange, KeyKind
from smartproxy.settings.tables.base import Table
from smartproxy.settings.tables.rules import HANDLER, Rule, StringRule, is_host
from smartproxy.settings.tables.types import (
    FilePath,
    FolderPath,
    Interval,
    Least,
    NonEmptyString,
    PortNumber,
    Positive,
)


class KnownDirectory(NamedTuple):
    """A public directory that has a name here.

    :ivar terms: the page of its terms of service.
    """

    url: str
    terms: str


#: The public directories by name.
DIRECTORIES: Final = {
    "letsencrypt": KnownDirectory(
        "https://acme-v02.api.letsencrypt.org/directory", "https://letsencrypt.org/repository/"
    ),
    "letsencrypt-staging": KnownDirectory(
        "https://acme-staging-v02.api.letsencrypt.org/directory", "https://letsencrypt.org/repository/"
    ),
    "zerossl": KnownDirectory("https://acme.zerossl.com/v2/DV90", "https://zerossl.com/terms/"),
}

#: Without ``?`` and ``,``, which have a meaning in a mailto URL and which no directory accepts (RFC 8555, section 7.3).
_LOCAL_PART = re.compile(r"[A-Za-z0-9.!#$%&'*+/=^_{|}~-]{1,64}")
#: RFC 4648, section 5. Directories give their keys without padding (RFC 8555, section 7.3.4).
_BASE64URL = re.compile(r"(?:[A-Za-z0-9_-]{4})*(?:[A-Za-z0-9_-]{2,3}={0,2})?")
_PRINTABLE_URL = re.compile(r"[!#-;=?-~]+")


def _is_email(text: str) -> bool:
    local, _, host = text.rpartition("@")
    return _LOCAL_PART.fullmatch(local) is not None and is_host(host)


def _email_hint(written: str) -> str:
    address = written.strip().removeprefix("mailto:")
    return f'write "{address}"' if address != written and _is_email(address) else ""


def is_url(text: str, *schemes: str) -> bool:
    """Whether ``text`` is a URL of one of ``schemes`` with a host, and without user and fragment."""
    try:
        url = urlsplit(text)
        return (
            url.scheme in schemes
            and "@" not in url.netloc
            and is_host(url.hostname or "")
            and url.port != 0
            and "#" not in text
            and _PRINTABLE_URL.fullmatch(text) is not None
        )
    except ValueError:  # a malformed port or address
        return False


def _check_directory(written: object) -> None:
    if isinstance(written, str) and written.lower().startswith("http://"):
        raise ValueError("must be an https URL: the directory says where account and orders are sent")
    if not isinstance(written, str) or (written not in DIRECTORIES and not is_url(written, "https")):
        *others, last = (f'"{name}"' for name in DIRECTORIES)
        raise ValueError(f"must be {', '.join(others)}, {last} or an https URL")


def _directory_hint(written: object) -> str:
    if not isinstance(written, str) or "://" in written:
        return ""
    text = re.sub("[^a-z]+", "-", written.lower().replace("'", ""))
    found = get_close_matches(text, DIRECTORIES, n=1, cutoff=0.7)
    return f'did you mean "{found[0]}"?' if found else ""


def _is_base64url(text: str) -> bool:
    return bool(text) and _BASE64URL.fullmatch(text) is not None


def _is_reference(written: object) -> bool:
    return isinstance(written, str) and HANDLER.fullmatch(written) is not None


def _check_dns_handler(written: object) -> None:
    if not _is_reference(written) and (isclass(written) or not callable(written)):
        raise ValueError('must be written "package.module:callable"')


def _check_ask(written: object) -> None:
    if isinstance(written, str) and is_url(written, "http", "https"):
        return
    if not _is_reference(written) and (isclass(written) or not callable(written)):
        raise ValueError('must be an http or https URL, or "package.module:callable"')


Email: TypeAlias = Annotated[
    str,
    StringRule(
        'must be an address like "admin@example.com"',
        _is_email,
        _email_hint,
        title="email address",
        pattern="^[^@ ,?]+@[^@ ,?]+$",
    ),
]
DirectoryUrl: TypeAlias = Annotated[
    str,
    Rule(
        _check_directory,
        _directory_hint,
        title="letsencrypt, letsencrypt-staging, zerossl or URL",
        anyOf=[{"enum": list(DIRECTORIES)}, {"type": "string", "pattern": "^https://"}],
    ),
]
Base64Url: TypeAlias = Annotated[
    str,
    StringRule(
        "must be base64url: letters, digits, - and _",
        _is_base64url,
        title="base64url",
        pattern="^[A-Za-z0-9_-]+={0,2}$",
    ),
]
DnsHandlerReference: TypeAlias = Annotated[
    str | DnsChange,
    Rule(_check_dns_handler, type="string", title="package.module:callable", pattern="^[^:]+:[^:]+$"),
]
ApprovalReference: TypeAlias = Annotated[
    str | Approval,
    Rule(_check_ask, type="string", title="URL or package.module:callable", pattern="^[^:]+:.+$"),
]


class ExternalAccountBinding(Table):
    """The credentials by which a directory knows its customer, from its website."""

    key_id: NonEmptyString
    """The identifier of the key."""
    hmac_key: Base64Url = Field(repr=False)
    """The key, in base64url."""


class AcmeDns(Table):
    """How TXT records are changed for `dns-01`: by `command` or by `handler`."""

    command: FilePath | None = None
    """Path of a program, relative to the configuration file. It is run as `PATH present NAME VALUE` and as `PATH cleanup NAME VALUE`,
    where NAME ends with a dot. It must exit when the record can be read by anyone; another exit code than 0 fails the challenge."""
    handler: DnsHandlerReference | None = None
    """A callable that is given `present` or `cleanup`, NAME and VALUE, and returns when the record can be read by anyone, or an
    awaitable. One that raises fails the challenge. Its module is looked for beside the configuration file first."""


class OnDemand(Table):
    """Certificates that are ordered when a client first asks for a name: for routes without `domains`, and for their wildcards."""

    ask: ApprovalReference
    """What approves a name before it is ordered: a URL, which is asked with `?domain=NAME` and approves with a status of 200 to
    299, or a callable that is given the name and returns a true value, or an awaitable of one."""
    max_per_hour: Positive = 20
    """Orders of new names in any hour. Retries count, renewals do not. Each of several `workers` has its share, but one at
    least."""


class Acme(Table):
    """Automatic certificates by ACME (RFC 8555), for routes with `certificate: auto`."""

    email: Email | None = None
    """Where the authority sends warnings about the account."""
    directory: DirectoryUrl = "letsencrypt"
    """Where certificates are ordered: a public authority by name, or the `https` URL of any directory. Its use means agreement
    with its terms of service. `letsencrypt-staging` is for trials: clients do not trust its certificates."""
    ca: FilePath | None = Field(
        default=None, json_schema_extra={"x-default": "those of the operating system"}
    )
    """A PEM file of authorities that the directory's own certificate is verified with."""
    challenge: Literal["auto", "http-01", "tls-alpn-01", "dns-01"] = "auto"
    """How control over a name is proven. `http-01`: the authority connects to port 80; `tls-alpn-01`: to port 443; `dns-01`: it reads
    a TXT record, which `dns` changes. `auto` begins with `http-01` where a route listens on `httpPort`, else with
    `tls-alpn-01`; after a failure it tries the next one, at last `dns-01` where `dns` is set. Wildcards are proven by that only."""
    key_type: KeyKind = "ecdsa-p256"
    """Type of the keys of certificates."""
    renew_before: Annotated[Interval | None, Least(3_600_000, meant="d")] = Field(
        default=None, json_schema_extra={"x-default": "a third of its lifetime"}
    )
    """How long before its expiry a certificate is renewed, unless the directory gives a time itself (ARI)."""
    eab: ExternalAccountBinding | None = None
    """External account binding, which some directories require, `zerossl` among them."""
    store: FolderPath = "acme"
    """Directory of account, keys and certificates, relative to the configuration file. It is made where there is none, and must
    outlive the process: what is lost is ordered again, and authorities limit orders. Several proxies may share it."""
    http_port: PortNumber = 80
    """Port on which `http-01` is answered, on whatever route. Where `challenge` is `http-01` and no route listens on it, the proxy
    does. The authority connects to port 80, so another one must be reachable as that."""
    dns: AcmeDns | None = None
    """How TXT records are changed for `dns-01`."""
    profile: NonEmptyString | None = None
    """Certificate profile to ask the directory for, like `shortlived`; without it, none is asked for."""
    until: Literal["refuse", "selfSigned"] = "refuse"
    """What clients get before the first certificate: `refuse` ends the handshake, `selfSigned` shows one that no client trusts."""
    on_demand: OnDemand | None = None
    """Certificates that are ordered when a client first asks for a name. Wildcards are never ordered then."""
