"""The account at a directory: it is created, found again, changed, and signs requests (RFC 8555, 7.3).

::

    account = AcmeAccount(server, key)
    await account.register("admin@a.example", external=None)
    answer = await account.post(url, {"identifiers": ...}, "order for a.example")
    answer = await account.fetch(order_url, "order for a.example")          # POST-as-GET

A directory that no longer has the account (pebble after a restart, or one that was deactivated and purged) answers
``accountDoesNotExist``. The account is then registered again, once for each request.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import DeferredLock

from smartproxy.acme.documents import location_of
from smartproxy.acme.jose import compact_json, external_binding
from smartproxy.acme.problems import HINTS
from smartproxy.acme.text import one_line
from smartproxy.errors import AcmeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smartproxy.acme.jose import AccountKey
    from smartproxy.acme.requests import AcmeAnswer
    from smartproxy.acme.signed import DirectoryRequests, Sign
    from smartproxy.model.plan import ExternalAccount


class AcmeAccount:
    """An account.

    :ivar server: sends requests to its directory.
    :ivar key: signs requests.
    :ivar url: identifies the account; ``None`` before it is known.
    :ivar email: for messages of the authority, or ``None``; used when it is registered again.
    :ivar external: credentials of the authority, or ``None``; likewise.
    """

    def __init__(self, server: DirectoryRequests, key: AccountKey) -> None:
        self.server = server
        self.key = key
        self.url: str | None = None
        self.email: str | None = None
        self.external: ExternalAccount | None = None
        self._registering = DeferredLock()

    async def register(self) -> str:
        """Create the account, or find the one that has the key, and agree to the terms of service. Returns its URL.

        :raises AcmeError: if the directory refuses.
        """
        directory = await self.server.directory()
        asked: dict[str, Any] = {"termsOfServiceAgreed": True, **self._contact()}
        external = self.external
        if external is not None:
            asked["externalAccountBinding"] = external_binding(
                self.key, directory.new_account, external.key_id, external.hmac_key
            )
        elif directory.requires_external_account:
            # An account that was made with credentials is found without them.
            asked = {"onlyReturnExisting": True}
        what = f"account at {one_line(self.server.url)}"
        try:
            answer = await self.server.post(directory.new_account, self._sign(asked, None), what)
        except AcmeError as refused:
            if refused.kind == "accountDoesNotExist" and external is None:
                raise _without_credentials(what) from None
            raise
        self.url = location_of(answer, what)
        return self.url

    async def find(self) -> bool:
        """Find the account that has the key, and use it. Returns whether there is one; none is created.

        :raises AcmeError: if the directory does not say.
        """
        what = f"account at {one_line(self.server.url)}"
        directory = await self.server.directory()
        try:
            asked = self._sign({"onlyReturnExisting": True}, None)
            answer = await self.server.post(directory.new_account, asked, what)
        except AcmeError as refused:
            if refused.kind != "accountDoesNotExist":
                raise
            return False
        self.url = location_of(answer, what)
        return True

    async def update_contact(self) -> None:
        """Tell the directory :attr:`email`.

        :raises AcmeError: if it refuses.
        """
        url = self.url or await self._registered(None)
        payload = {"contact": self._contact().get("contact", [])}
        what = f"contact of the account at {one_line(self.server.url)}"
        try:
            await self.server.post(url, self._sign(payload, url), what)
        except AcmeError as refused:
            if refused.kind != "accountDoesNotExist":
                raise
            await self._registered(url)  # which has another URL, and the contact

    async def roll_key(self, new_key: AccountKey) -> None:
        """Give the account a new key, and use it from now on (RFC 8555, 7.3.5).

        After a :class:`~smartproxy.errors.DirectoryUnavailable` either key may be the account's.

        :raises AcmeError: if the directory refuses, or has no such resource.
        """
        what = f"new key of the account at {one_line(self.server.url)}"
        directory = await self.server.directory()
        if directory.key_change is None:
            raise AcmeError(f"{what}: the directory cannot change keys")
        account = self.url or await self._registered(None)
        inner = new_key.sign(
            compact_json({"account": account, "oldKey": self.key.jwk}), url=directory.key_change
        )
        sign = self._sign(json.loads(inner), account)
        await self.server.post(directory.key_change, sign, what, repeat=False)
        self.key = new_key

    async def post(self, url: str, payload: Any, what: str, *, repeat: bool = True) -> AcmeAnswer:
        """The answer to a request of the account.

        :param payload: is sent as JSON.
        :param what: what is asked for, to begin messages with.
        :param repeat: whether a request that may have succeeded can be sent again.
        :raises AcmeError: if it is not a success.
        """
        return await self._posted(url, payload, what, repeat=repeat)

    async def fetch(self, url: str, what: str, accept: str | None = None) -> AcmeAnswer:
        """A resource (POST-as-GET; RFC 8555, 6.3).

        :param accept: the media type that is wanted.
        :raises AcmeError: if it is not a success.
        """
        return await self._posted(url, None, what, accept=accept)

    async def _posted(self, target: str, payload: Any, what: str, **how: Any) -> AcmeAnswer:
        account = self.url or await self._registered(None)
        try:
            return await self.server.post(target, self._sign(payload, account), what, **how)
        except AcmeError as refused:
            if refused.kind != "accountDoesNotExist":
                raise
        account = await self._registered(account)
        return await self.server.post(target, self._sign(payload, account), what, **how)

    async def _registered(self, refused: str | None) -> str:
        """Register, unless another request has done so meanwhile.

        :param refused: the URL that the directory does not know; ``None`` if there was none.
        """
        async with self._registering:
            if self.url is not None and self.url != refused:
                return self.url
            return await self.register()

    def _sign(self, payload: Any, kid: str | None) -> Sign:
        key, content = self.key, b"" if payload is None else compact_json(payload)
        return lambda nonce, url: key.sign(content, url=url, nonce=nonce, kid=kid)

    def _contact(self) -> Mapping[str, Any]:
        return {"contact": [f"mailto:{self.email}"]} if self.email else {}


def _without_credentials(what: str) -> AcmeError:
    kind = "externalAccountRequired"
    return AcmeError(f"{what}: the directory requires credentials of its customers; {HINTS[kind]}", kind)
