"""The client of one ACME directory (RFC 8555).

::

    client = AcmeClient(url, AcmeRequests(reactor, ca=None), key, reactor, time.time, random.random)
    client.account_url = stored                 # or None: it is registered
    await client.register("admin@a.example", external=None)
    chain = await client.order(["a.example"], certificate_key, [ChallengeType.HTTP_01], solver)

Everything raises :class:`~smartproxy.errors.AcmeError` with one line for the operator, and everything can be cancelled. An order
that is cancelled has cleaned up its challenges before its Deferred fires.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.acme.account import AcmeAccount
from smartproxy.acme.ari import read_renewal_info
from smartproxy.acme.documents import AcmeDocument
from smartproxy.acme.ordering import Ordering
from smartproxy.acme.problems import retry_after
from smartproxy.acme.proving import Proving
from smartproxy.acme.signed import DirectoryRequests

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.interfaces import IReactorTime

    from smartproxy.acme.ari import RenewalInfo
    from smartproxy.acme.documents import AcmeDirectory
    from smartproxy.acme.interfaces import Solver
    from smartproxy.acme.jose import AccountKey
    from smartproxy.acme.requests import AcmeRequests
    from smartproxy.model.plan import ChallengeType, ExternalAccount
    from smartproxy.tls.certificate import PrivateKey


class AcmeClient:
    """A client with one account.

    :param directory_url: of the directory.
    :param requests: sends HTTP requests.
    :param key: of the account.
    :param clock: for pauses, and the age of what is kept.
    :param wall: seconds since the epoch.
    :param chance: returns a random number from 0 to 1.
    """

    def __init__(
        self,
        directory_url: str,
        requests: AcmeRequests,
        key: AccountKey,
        clock: IReactorTime,
        wall: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        self._server = DirectoryRequests(directory_url, requests, clock, wall, chance)
        self._account = AcmeAccount(self._server, key)

    @property
    def account_url(self) -> str | None:
        """Identifies the account; may be set to the one of a former run. ``None``: it is registered when it is needed."""
        return self._account.url

    @account_url.setter
    def account_url(self, url: str | None) -> None:
        self._account.url = url

    @property
    def key(self) -> AccountKey:
        """The key of the account: the new one after :meth:`roll_key`."""
        return self._account.key

    def use(self, email: str | None, external: ExternalAccount | None) -> None:
        """What the account is registered with when a request finds that there is none. :meth:`register` sets it, too."""
        self._account.email, self._account.external = email, external

    async def directory(self) -> AcmeDirectory:
        """The resources of the directory. They are asked for again after a day.

        :raises AcmeError: if they cannot be had.
        """
        return await self._server.directory()

    async def register(self, email: str | None, external: ExternalAccount | None) -> str:
        """Create the account, or find the one with this key, and agree to the terms of service. Returns its URL.

        The contact of an account that was found is not changed; :meth:`update_contact` does that.

        :param external: credentials of the authority, if it requires them.
        :raises AcmeError: if the directory refuses.
        """
        self.use(email, external)
        return await self._account.register()

    async def find(self) -> bool:
        """Find the account that has the key, and use it. Returns whether there is one; none is created.

        :raises AcmeError: if the directory does not say.
        """
        return await self._account.find()

    async def update_contact(self, email: str | None) -> None:
        """Set the address for messages of the authority; ``None`` removes it.

        :raises AcmeError: if the directory refuses.
        """
        self._account.email = email
        await self._account.update_contact()

    async def roll_key(self, new_key: AccountKey) -> None:
        """Give the account a new key (RFC 8555, 7.3.5), and use it from now on.

        Store the new key before. After a :class:`~smartproxy.errors.DirectoryUnavailable` either key may be the account's.

        :raises AcmeError: if the directory refuses.
        """
        await self._account.roll_key(new_key)

    async def order(
        self,
        names: Sequence[str],
        key: PrivateKey,
        preferred: Sequence[ChallengeType],
        solver: Solver,
        profile: str | None = None,
        replaces: str | None = None,
    ) -> bytes:
        """Order a certificate. Returns its chain in PEM, leaf first.

        :param names: host names, wildcards and addresses.
        :param key: of the certificate.
        :param preferred: the types of challenges that may be used, the preferred one first.
        :param solver: makes the answers of challenges visible.
        :param profile: the kind of certificate to ask for; ``None`` does not ask for one.
        :param replaces: :func:`~smartproxy.acme.ari.certificate_id` of the certificate that is renewed.
        :raises AcmeError: if there is no certificate.
        """
        proving = Proving(self._account, names, preferred, solver)
        return await Ordering(self._account, names, key, proving).run(profile, replaces)

    async def renewal_info(self, certificate_id: str) -> RenewalInfo | None:
        """When to renew a certificate (RFC 9773); ``None`` if the directory does not say.

        :raises AcmeError: if there is no usable answer. Then the time of renewal follows from the lifetime.
        """
        directory = await self._server.directory()
        if directory.renewal_info is None:
            return None
        what = f"renewal information of certificate {certificate_id}"
        answer = await self._server.get(f"{directory.renewal_info.rstrip('/')}/{certificate_id}", what)
        after = retry_after(answer.headers, self._server.wall())
        return read_renewal_info(AcmeDocument.parsed(answer.body, what), after)
