"""Errors of an ACME directory in plain words, with what the operator can check (RFC 8555, 6.7).

::

    raise error_of(answer, "order for a.example", wall())       # an AcmeError or DirectoryUnavailable

A directory describes an error as a problem document (RFC 7807): a type, a detail for humans, and perhaps a subproblem for each
name (6.7.1). The text is for the log and the admin API::

    http-01 of a.example: Fetching http://a.example/...: Connection refused (connection); check that ...

All of it comes from the network, so it is cut and escaped (:mod:`smartproxy.acme.text`).
"""

from __future__ import annotations

import json
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from smartproxy.acme.text import LONGEST, listed, one_line
from smartproxy.errors import AcmeError, DirectoryUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from smartproxy.acme.requests import AcmeAnswer

_PREFIX: Final = "urn:ietf:params:acme:error:"
#: Seconds: the most that a Retry-After may ask for. An authority's rate limits refill within hours.
MAX_RETRY_AFTER: Final = 86400.0
#: Subproblems that a text names.
_MOST_SUBPROBLEMS: Final = 3
#: Characters of a whole text.
_MOST_TEXT: Final = 4 * LONGEST
_SERVER_ERROR: Final = 500

#: What to check, by kind (RFC 8555, 6.7; RFC 9773, 7.4; draft-ietf-acme-profiles).
HINTS: Final = {
    "accountDoesNotExist": "the account was removed or belongs to another directory; a new one is registered",
    "alreadyReplaced": "the former certificate has been renewed by another order already",
    "badCSR": "the key or the names are not accepted; try another acme.keyType",
    "badNonce": "try again later",
    "badPublicKey": "the account's key is not accepted; remove it from acme.store to make a new one",
    "caa": "add a CAA record (RFC 8659) that allows this authority, or remove those that allow others only",
    "connection": "check that the name's addresses are those of this proxy and that no firewall blocks the port: 80 for "
    "http-01, 443 for tls-alpn-01",
    "dns": "check that the name exists, that its name servers answer, and for dns-01 that the TXT record is published",
    "externalAccountRequired": "set acme.eab to the credentials that the authority has given you",
    "incorrectResponse": "another server has answered for this name; check its addresses, IPv6 included, and what is in "
    "front of this proxy; for dns-01 check the TXT record",
    "invalidContact": "correct acme.email",
    "invalidProfile": "correct acme.profile",
    "rateLimited": "wait; the limits of the authority apply to names and accounts",
    "rejectedIdentifier": "the authority does not issue for this name; check that it is public and spelled correctly",
    "serverInternal": "the authority has a failure; it is tried again",
    "tls": "check that TLS connections to port 443 of this name reach this proxy undecrypted",
    "unauthorized": "check that the name's addresses, IPv6 included, are those of this proxy and that nothing in front of it "
    "answers instead; for dns-01 check the TXT record; for an account, that acme.eab is right",
    "unsupportedContact": "correct acme.email",
    "unsupportedIdentifier": "the authority does not issue for this kind of name or address",
    "userActionRequired": "agree to the authority's new terms of service",
}  # fmt: skip

_OTHER_SERVER: Final = "check that the name's addresses, IPv6 included, are those of this proxy and that nothing in front of it answers instead"
_TXT_RECORD: Final = "check that every name server of the zone has the TXT record before acme.dns has ended"

#: In place of those, by kind and the first word of what was asked for: where it is known what the error is about.
_CLOSER_HINTS: Final = {
    ("connection", "http-01"): "check that the name's addresses are those of this proxy and that no firewall blocks port 80",
    ("connection", "tls-alpn-01"): "check that the name's addresses are those of this proxy and that no firewall blocks "
    "port 443",
    ("incorrectResponse", "dns-01"): _TXT_RECORD,
    ("unauthorized", "account"): "check that acme.eab is right and was not used before",
    ("unauthorized", "dns-01"): _TXT_RECORD,
    ("unauthorized", "http-01"): _OTHER_SERVER,
    ("unauthorized", "tls-alpn-01"): _OTHER_SERVER,
}  # fmt: skip


def error_of(answer: AcmeAnswer, what: str, wall: float, names: tuple[str, ...] = ()) -> AcmeError:
    """The exception for an answer that is not a success.

    :param what: what was asked for, to begin the text with.
    :param wall: now, in seconds since the epoch.
    """
    after = retry_after(answer.headers, wall)
    problem = _problem(answer.body)
    made = error_from(problem, what, names, f"answered with HTTP {answer.status}", after)
    if answer.status >= _SERVER_ERROR:
        return DirectoryUnavailable(made.text, made.kind, retry_after=after, names=made.names)
    return made


def error_from(
    problem: object,
    what: str,
    names: tuple[str, ...] = (),
    unexplained: str = "failed",
    after: float | None = None,
) -> AcmeError:
    """The exception for a problem document.

    :param problem: as it was parsed from JSON; may be anything.
    :param names: those that it is about, if its subproblems do not say.
    :param unexplained: what to say if it has neither type nor detail.
    :param after: see :attr:`AcmeError.retry_after`.
    """
    fields = problem if isinstance(problem, dict) else {}
    kind = _kind(fields)
    below = list(_subproblems(fields))
    said = _said(fields, unexplained)
    if below:
        said += ": " + "; ".join(f"{name}: {_said(each, 'refused')}" for name, each in below)
        names = tuple(name for name, _ in below)
    # A problem may have no hint of its own and be explained by that of a subproblem.
    kinds = (kind, *(_kind(one) for _, one in below))
    hint = next((_hint(each, what) for each in kinds if each in HINTS), "")
    if kind == "userActionRequired" and isinstance(fields.get("instance"), str):
        hint += f": {one_line(fields['instance'])}"
    text = one_line(f"{what}: {said}", _MOST_TEXT) + (f"; {hint}" if hint else "")
    return AcmeError(text, kind, retry_after=after, names=names)


def _hint(kind: str, what: str) -> str:
    return _CLOSER_HINTS.get((kind, what.partition(" ")[0]), HINTS[kind])


def _said(problem: Mapping[str, Any], unexplained: str) -> str:
    """``DETAIL (KIND)``."""
    detail, kind = problem.get("detail"), one_line(_kind(problem), 60)
    said = one_line(detail).rstrip(".") if isinstance(detail, str) else ""
    if said and kind:
        return f"{said} ({kind})"
    return said or kind or unexplained


def _kind(problem: Mapping[str, Any]) -> str:
    kind = problem.get("type")
    return kind.removeprefix(_PREFIX) if isinstance(kind, str) and kind.startswith(_PREFIX) else ""


def _subproblems(problem: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The subproblems with their names (RFC 8555, 6.7.1), as far as they are valid and a text names them."""
    found = problem.get("subproblems")
    for each in (found if isinstance(found, list) else [])[:_MOST_SUBPROBLEMS]:
        identifier = each.get("identifier") if isinstance(each, dict) else None
        name = identifier.get("value") if isinstance(identifier, dict) else None
        if isinstance(name, str):
            yield one_line(name), each


def _problem(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def retry_after(headers: Mapping[str, str], wall: float) -> float | None:
    """The seconds in Retry-After (RFC 9110, 10.2.3), at most a day; ``None`` if there is none that can be read.

    :param wall: now, in seconds since the epoch.
    """
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:10]), MAX_RETRY_AFTER)
    try:
        seconds = parsedate_to_datetime(value).timestamp() - wall
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)


def with_names(what: str, names: tuple[str, ...]) -> str:
    """``order for a.example, b.example``."""
    return f"{what} for {listed(names)}"
