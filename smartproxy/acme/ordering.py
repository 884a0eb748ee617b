"""One order, from its names to its chain of certificates (RFC 8555, 7.4).

::

    chain = await Ordering(account, names, key, Proving(account, names, preferred, solver)).run(profile, replaces)

The order is made; each authorization that is not valid yet is proven, ten at once; the certificate is requested, waited for, and
downloaded. Of several chains the directory's default one is used.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from twisted.logger import Logger

from smartproxy.acme.documents import AcmeDocument, Order, location_of
from smartproxy.acme.issuing import checked_chain, identifier_of, signing_request
from smartproxy.acme.jose import base64url
from smartproxy.acme.polling import settled
from smartproxy.acme.problems import error_from, retry_after, with_names
from smartproxy.acme.text import one_line
from smartproxy.errors import AcmeError, DirectoryUnavailable
from smartproxy.flow.together import together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smartproxy.acme.account import AcmeAccount
    from smartproxy.acme.proving import Proving
    from smartproxy.tls.certificate import PrivateKey

#: Authorizations of one order that are proven at once.
MAX_PROOFS: Final = 10
#: RFC 8555, 9.1.
_CHAIN: Final = "application/pem-certificate-chain"
#: What a directory says of a ``replaces`` that it does not accept: RFC 9773, 5 has the first; Boulder answers with the others if
#: it does not know the certificate, or if another account has ordered it.
_NOT_REPLACED: Final = frozenset({"alreadyReplaced", "malformed", "unauthorized"})


log = Logger()


class Ordering:
    """One order.

    :param names: of the certificate: host names, wildcards and addresses.
    :param key: of the certificate.
    """

    def __init__(self, account: AcmeAccount, names: Sequence[str], key: PrivateKey, proving: Proving) -> None:
        self._account = account
        self._names = names
        self._key = key
        self._proving = proving
        self._what = with_names("order", tuple(names))

    async def run(self, profile: str | None, replaces: str | None) -> bytes:
        """The chain in PEM, leaf first.

        :param profile: name of the kind of certificate (draft-ietf-acme-profiles); ``None`` does not ask for one.
        :param replaces: the identifier of the certificate that is renewed (RFC 9773, 5); ``None`` if there is none.
        :raises AcmeError: if there is no certificate.
        """
        request = signing_request(self._names, self._key)
        url, order = await self._ordered(profile, replaces)
        if order.status == "pending":
            await self._prove(order)
            order = await self._settled(url, {"pending"})
        if order.status == "ready":
            order = await self._finalized(url, order, request)
        if order.status == "processing":
            order = await self._settled(url, {"processing"})
        if order.status != "valid" or order.certificate is None:
            raise self._refusal(order)
        answer = await self._account.fetch(order.certificate, self._what, _CHAIN)
        return checked_chain(answer.body, self._names, self._key, self._what)

    async def _ordered(self, profile: str | None, replaces: str | None) -> tuple[str, Order]:
        directory = await self._account.server.directory()
        asked: dict[str, Any] = {"identifiers": [identifier_of(name) for name in self._names]}
        if profile is not None:
            if directory.profiles and profile not in directory.profiles:
                raise self._no_profile(profile, sorted(directory.profiles))
            if not directory.profiles:
                log.warn("{what}: the directory has no profiles: acme.profile is ignored", what=self._what)
            asked["profile"] = profile
        if replaces is not None and directory.renewal_info is not None:
            try:
                return await self._make(directory.new_order, {**asked, "replaces": replaces})
            except AcmeError as refused:
                if refused.kind not in _NOT_REPLACED:
                    raise
        return await self._make(directory.new_order, asked)

    async def _make(self, url: str, asked: dict[str, Any]) -> tuple[str, Order]:
        answer = await self._account.post(url, asked, self._what, repeat=False)
        return location_of(answer, self._what), self._read(answer.body)

    def _no_profile(self, profile: str, offered: list[str]) -> AcmeError:
        offers = ", ".join(one_line(name, 60) for name in offered[:20])
        return AcmeError(
            f"{self._what}: the directory has no profile {one_line(profile, 60)}; set acme.profile to one of {offers}",
            "invalidProfile",
        )

    async def _prove(self, order: Order) -> None:
        clock = self._account.server.clock
        await together(
            [partial(self._proving.prove, url) for url in order.authorizations],
            MAX_PROOFS,
            lambda call: clock.callLater(0, call),
        )

    async def _finalized(self, url: str, order: Order, request: bytes) -> Order:
        """Request the certificate of an order that is ready."""
        payload = {"csr": base64url(request)}
        try:
            answer = await self._account.post(order.finalize, payload, self._what, repeat=False)
        except DirectoryUnavailable:
            # The request may have been received. Then the order shows it.
            order, _ = await self._look(url)
            if order.status != "ready":
                return order
            answer = await self._account.post(order.finalize, payload, self._what)
        order = self._read(answer.body)
        # "ready" is not a state after this request, but it is not worth failing for.
        return await self._settled(url, {"ready", "processing"}) if order.status == "ready" else order

    async def _settled(self, url: str, open_states: set[str]) -> Order:
        return await settled(
            partial(self._look, url),
            lambda order: order.status not in open_states,
            self._what,
            self._account.server.clock,
        )

    async def _look(self, url: str) -> tuple[Order, float | None]:
        answer = await self._account.fetch(url, self._what)
        return self._read(answer.body), retry_after(answer.headers, self._account.server.wall())

    def _read(self, body: bytes) -> Order:
        return Order.read(AcmeDocument.parsed(body, self._what))

    def _refusal(self, order: Order) -> AcmeError:
        names = tuple(self._names)
        if order.error is not None:
            return error_from(order.error, self._what, names)
        why = "it has no certificate" if order.status == "valid" else f"its status is {order.status!a:.60}"
        return AcmeError(f"{self._what}: {why}, without a reason", names=names)
