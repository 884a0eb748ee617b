"""What an ACME directory answers: its JSON objects, checked and as types (RFC 8555, 7.1).

::

    order = Order.read(AcmeDocument.parsed(answer.body, "order for a.example"))

Whatever a directory sends, a malformed answer is an :class:`~smartproxy.errors.AcmeError` that says what is wrong with it. Unknown
fields are ignored (RFC 8555, 7.1).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from smartproxy.acme.text import one_line
from smartproxy.errors import AcmeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smartproxy.acme.requests import AcmeAnswer

#: A token (RFC 8555, 8.1): it becomes the path of a URL, and the name of a file.
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{1,256}")
_URL: Final = re.compile(r"https://[!-~]{1,2000}", re.IGNORECASE)


class AcmeDocument:
    """A JSON object, read by key and type.

    :param what: what was asked for, to begin messages with.
    """

    def __init__(self, fields: Mapping[str, Any], what: str) -> None:
        self._fields = fields
        self.what = what

    @classmethod
    def parsed(cls, body: bytes, what: str) -> AcmeDocument:
        """The object in ``body``.

        :raises AcmeError: if it is not a JSON object.
        """
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            raise AcmeError(f"{what}: the directory's answer is not JSON") from None
        return cls._checked(found, what)

    @classmethod
    def _checked(cls, found: object, what: str) -> AcmeDocument:
        if not isinstance(found, dict):
            raise AcmeError(f"{what}: the directory's answer is not a JSON object")
        return cls(found, what)

    def get(self, key: str) -> object:
        """Whatever is there, or ``None``."""
        return self._fields.get(key)

    def text(self, key: str) -> str:
        """A string.

        :raises AcmeError: if it is missing or something else.
        """
        found = self._fields.get(key)
        if not isinstance(found, str):
            raise self.malformed(key, "a string")
        return found

    def url(self, key: str) -> str:
        """An ``https`` URL.

        :raises AcmeError: if it is missing or something else.
        """
        return self._as_url(key, self.text(key))

    def optional_url(self, key: str) -> str | None:
        """An ``https`` URL, or ``None``.

        :raises AcmeError: if it is something else.
        """
        return None if self._fields.get(key) is None else self.url(key)

    def urls(self, key: str) -> tuple[str, ...]:
        """A list of ``https`` URLs.

        :raises AcmeError: if it is missing or something else.
        """
        found = self._fields.get(key)
        if not isinstance(found, list):
            raise self.malformed(key, "a list")
        return tuple(self._as_url(key, each) for each in found)

    def document(self, key: str) -> AcmeDocument:
        """An object; an empty one if it is missing or ``null``.

        :raises AcmeError: if it is something else.
        """
        found = {} if self._fields.get(key) is None else self._fields[key]
        if not isinstance(found, dict):
            raise self.malformed(key, "an object")
        return AcmeDocument(found, self.what)

    def documents(self, key: str) -> list[AcmeDocument]:
        """A list of objects.

        :raises AcmeError: if it is missing or something else.
        """
        found = self._fields.get(key)
        if not isinstance(found, list):
            raise self.malformed(key, "a list")
        return [self._checked(each, self.what) for each in found]

    def texts(self) -> dict[str, str]:
        """Its members that are strings."""
        return {name: value for name, value in self._fields.items() if isinstance(value, str)}

    def malformed(self, key: str, wanted: str) -> AcmeError:
        """The exception for a member that is not as it must be."""
        return AcmeError(f'{self.what}: "{key}" in the directory\'s answer is not {wanted}')

    def _as_url(self, key: str, found: object) -> str:
        if not isinstance(found, str) or not _URL.fullmatch(found):
            raise self.malformed(key, "an https URL")
        return found


def location_of(answer: AcmeAnswer, what: str) -> str:
    """The URL of a new resource.

    :param what: what was asked for, to begin a message with.
    :raises AcmeError: if the answer has none.
    """
    url = answer.headers.get("Location", "")
    if not _URL.fullmatch(url):
        raise AcmeError(f"{what}: the directory's answer has no Location with an https URL")
    return url


@dataclass(frozen=True, slots=True)
class AcmeDirectory:
    """The resources of a directory (RFC 8555, 7.1.1).

    :ivar renewal_info: ``None`` if it does not say when to renew (RFC 9773).
    :ivar terms: URL of the terms of service, or ``None``.
    :ivar website: of the authority, or ``None``.
    :ivar profiles: descriptions by name (draft-ietf-acme-profiles); empty if it has none.
    :ivar requires_external_account: whether an account needs credentials of the authority.
    """

    new_nonce: str
    new_account: str
    new_order: str
    key_change: str | None
    revoke_cert: str | None
    renewal_info: str | None
    terms: str | None
    website: str | None
    profiles: Mapping[str, str]
    requires_external_account: bool

    @classmethod
    def read(cls, found: AcmeDocument) -> AcmeDirectory:
        """As it was answered.

        :raises AcmeError: if it is not a directory.
        """
        meta = found.document("meta").texts()
        return cls(
            new_nonce=found.url("newNonce"),
            new_account=found.url("newAccount"),
            new_order=found.url("newOrder"),
            key_change=found.optional_url("keyChange"),
            revoke_cert=found.optional_url("revokeCert"),
            renewal_info=found.optional_url("renewalInfo"),
            terms=meta.get("termsOfService"),
            website=meta.get("website"),
            profiles=found.document("meta").document("profiles").texts(),
            requires_external_account=found.document("meta").get("externalAccountRequired") is True,
        )


@dataclass(frozen=True, slots=True)
class Order:
    """An order (RFC 8555, 7.1.3).

    :ivar status: ``pending``, ``ready``, ``processing``, ``valid`` or ``invalid``.
    :ivar certificate: URL of the certificate; ``None`` before there is one.
    :ivar error: a problem document, or ``None``.
    """

    status: str
    authorizations: tuple[str, ...]
    finalize: str
    certificate: str | None
    error: object

    @classmethod
    def read(cls, found: AcmeDocument) -> Order:
        """As it was answered.

        :raises AcmeError: if it is not an order.
        """
        return cls(
            status=found.text("status"),
            authorizations=found.urls("authorizations"),
            finalize=found.url("finalize"),
            certificate=found.optional_url("certificate"),
            error=found.get("error"),
        )


@dataclass(frozen=True, slots=True)
class Offer:
    """A challenge that a directory offers (RFC 8555, 8).

    :ivar token: empty for a type that has none.
    :ivar status: ``pending``, ``processing``, ``valid`` or ``invalid``.
    :ivar error: a problem document, or ``None``.
    """

    type: str
    url: str
    token: str
    status: object
    error: object


@dataclass(frozen=True, slots=True)
class Authorization:
    """The authorization for one name (RFC 8555, 7.1.4).

    :ivar name: the name or address, without ``*.``.
    :ivar status: ``pending``, ``valid``, ``invalid``, ``deactivated``, ``expired`` or ``revoked``.
    :ivar wildcard: whether it is for ``*.NAME``.
    :ivar offers: any of which proves control over the name; those of unknown types have no token.
    """

    name: str
    status: str
    wildcard: bool
    offers: tuple[Offer, ...]

    @classmethod
    def read(cls, found: AcmeDocument) -> Authorization:
        """As it was answered.

        :raises AcmeError: if it is not an authorization.
        """
        return cls(
            name=found.document("identifier").text("value").lower(),
            status=found.text("status"),
            wildcard=found.get("wildcard") is True,
            offers=tuple(_offer(each) for each in found.documents("challenges")),
        )

    @property
    def shown(self) -> str:
        """Its name for messages."""
        return one_line(f"*.{self.name}" if self.wildcard else self.name)

    def is_pending(self, offer: Offer) -> bool:
        """Whether the directory has not been told to look for the answer of ``offer``."""
        return any(one.url == offer.url and one.status == "pending" for one in self.offers)


def _offer(found: AcmeDocument) -> Offer:
    token = found.get("token")
    if token is not None and not (isinstance(token, str) and _TOKEN.fullmatch(token)):
        raise found.malformed("token", "base64url")
    return Offer(found.text("type"), found.url("url"), token or "", found.get("status"), found.get("error"))
