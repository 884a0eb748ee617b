"""Proving control over one name of an order (RFC 8555, 7.5).

An authorization offers challenges, any of which is enough. The first configured type among them is used: its answer is made
visible by a :class:`~smartproxy.acme.interfaces.Solver`, the directory is told to look, and is asked until it has decided.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.logger import Logger

from smartproxy.acme.documents import AcmeDocument, Authorization
from smartproxy.acme.interfaces import Challenge
from smartproxy.acme.polling import settled
from smartproxy.acme.problems import error_from, retry_after
from smartproxy.errors import AcmeError, AcmeStoreUnusable, DirectoryUnavailable
from smartproxy.model.ending import in_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.python.failure import Failure

    from smartproxy.acme.account import AcmeAccount
    from smartproxy.acme.documents import Offer
    from smartproxy.acme.interfaces import Solver
    from smartproxy.model.plan import ChallengeType

_PENDING: Final = "pending"

log = Logger()


class Proving:
    """Proves control over the names of one order.

    :param names: of the order. The directory may ask for a proof of one of these, or of a parent of one.
    :param preferred: the types of challenges that may be used, the preferred one first.
    """

    def __init__(
        self, account: AcmeAccount, names: Sequence[str], preferred: Sequence[ChallengeType], solver: Solver
    ) -> None:
        self._account = account
        self._names = {name.lower().removeprefix("*.") for name in names}
        self._preferred = preferred
        self._solver = solver
        # By name, because a name and its wildcard have one record in the DNS: challenges that were begun and are not decided,
        # those that were and are not cleaned up, and who changes the record.
        self._undecided: Counter[str] = Counter()
        self._decided: dict[str, list[Challenge]] = {}
        self._changing: dict[str, DeferredLock] = defaultdict(DeferredLock)

    async def prove(self, url: str) -> None:
        """Prove what the authorization at ``url`` asks for.

        :raises AcmeError: if that fails.
        :raises AcmeStoreUnusable: if the answer cannot be kept for other processes.
        """
        found, _ = await self._look(url)
        if found.status == "valid":
            return
        if found.status != _PENDING:
            raise self._refusal(found)
        offer, kind = self._chosen(found)
        key_authorization = f"{offer.token}.{self._account.key.thumbprint}"
        challenge = Challenge(kind, found.name, offer.token, key_authorization)
        self._undecided[found.name] += 1
        try:
            await self._present(challenge, found)
            await self._answer(url, offer, found)
        finally:
            await self._release(challenge)

    async def _look(self, url: str) -> tuple[Authorization, float | None]:
        answer = await self._account.fetch(url, "authorization")
        found = Authorization.read(AcmeDocument.parsed(answer.body, "authorization"))
        return found, retry_after(answer.headers, self._account.server.wall())

    def _chosen(self, found: Authorization) -> tuple[Offer, ChallengeType]:
        """The offer to use.

        :raises AcmeError: if none can be.
        """
        # A directory must not get answers from us that prove something for other names.
        if not any(name == found.name or name.endswith(f".{found.name}") for name in self._names):
            raise AcmeError(f"{found.shown}: the directory asks for a proof of a name that was not ordered")
        offers = {offer.type: offer for offer in found.offers if offer.token}
        for kind in self._preferred:
            if kind in offers:
                return offers[kind], kind
        offered = ", ".join(sorted(kind for kind in offers if kind.replace("-", "").isalnum())) or "none"
        configured = ", ".join(self._preferred) or "none"
        raise AcmeError(
            f"{found.shown}: the directory offers the challenges {offered}, and configured are {configured}; "
            "change acme.challenge",
            names=(found.shown,),
        )

    async def _present(self, challenge: Challenge, found: Authorization) -> None:
        try:
            async with self._changing[challenge.identifier]:
                await self._solver.present(challenge)
        except (CancelledError, AcmeStoreUnusable):
            raise
        except AcmeError as refused:
            refused.names = refused.names or (found.shown,)
            raise
        except Exception as failed:
            why = f"{challenge.type} of {found.shown} could not be prepared: {in_words(failed)}"
            raise AcmeError(why, names=(found.shown,)) from failed

    async def _answer(self, url: str, offer: Offer, found: Authorization) -> None:
        """Tell the directory to look, and wait until it has decided."""
        what = f"{offer.type} of {found.shown}"
        try:
            await self._account.post(offer.url, {}, what, repeat=False)
        except DirectoryUnavailable:
            # The request may have been received. Then the authorization or its challenge shows it.
            now, _ = await self._look(url)
            if now.status == _PENDING and now.is_pending(offer):
                await self._account.post(offer.url, {}, what)
        decided = await settled(
            partial(self._look, url), lambda now: now.status != _PENDING, what, self._account.server.clock
        )
        if decided.status != "valid":
            raise self._refusal(decided)

    def _refusal(self, found: Authorization) -> AcmeError:
        """Why an authorization is not valid: the error of the challenge that has one."""
        failed = next((offer for offer in found.offers if offer.error is not None), None)
        if failed is None:
            why = f"{found.shown}: its authorization has the status {found.status!a:.60} without a reason"
            return AcmeError(why, names=(found.shown,))
        return error_from(failed.error, f"{failed.type!s:.40} of {found.shown}", (found.shown,))

    async def _release(self, challenge: Challenge) -> None:
        """Clean up behind a challenge, and behind others of its name: when none is undecided. A command may remove the whole record."""
        name = challenge.identifier
        self._undecided[name] -= 1
        self._decided.setdefault(name, []).append(challenge)
        if not self._undecided[name]:
            async with self._changing[name]:
                for each in self._decided.pop(name):
                    await self._clean_up(each)

    async def _clean_up(self, challenge: Challenge) -> None:
        """Remove the answer of a challenge. Its failure is logged; one cancel does not end it, a second one does."""
        cleaning = Deferred.fromCoroutine(self._solver.cleanup(challenge))
        cleaning.addErrback(_not_cleaned, challenge)
        for _ in range(2):
            # A new one for each wait: it is cancelled in the place of the other.
            ended: Deferred[None] = Deferred()
            cleaning.addCallback(ended.callback)
            with suppress(CancelledError):
                return await ended
        cleaning.cancel()
        return None


def _not_cleaned(failed: Failure, challenge: Challenge) -> None:
    log.warn(
        "{challenge} of {name} could not be cleaned up: {why}",
        challenge=challenge.type.value,
        name=challenge.identifier,
        why=failed.value.text if isinstance(failed.value, AcmeError) else in_words(failed.value),
    )
