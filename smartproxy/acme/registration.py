"""The account at a directory: found in the store, or registered when it is first needed.

::

    registration = Registration(plan, storage, make_client, in_thread, clock)
    client = await registration.client()    # speaks for the account
    await registration.roll_key()

Two processes on one store have one account: the second one waits for the lock, and finds the key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.internet.defer import DeferredLock
from twisted.internet.task import deferLater
from twisted.logger import Logger

from smartproxy.acme.jose import AccountKey
from smartproxy.acme.storage import StoredAccount
from smartproxy.errors import AcmeError, DirectoryUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

    from smartproxy.acme.client import AcmeClient
    from smartproxy.acme.storage import AcmeStorage
    from smartproxy.acme.store_lock import StoreLock
    from smartproxy.flow.threads import Call
    from smartproxy.model.plan import AcmePlan

#: Seconds between two attempts to get the lock of the account.
_LOCK_INTERVAL: Final = 0.5

log = Logger()


class Registration:
    """The account of one directory.

    :param make_client: makes a client of the directory that signs with a key.
    :param in_thread: calls what waits for a disk.
    """

    def __init__(
        self,
        plan: AcmePlan,
        storage: AcmeStorage,
        make_client: Callable[[AccountKey], AcmeClient],
        in_thread: Call,
        clock: IReactorTime,
    ) -> None:
        self._plan = plan
        self._storage = storage
        self._make_client = make_client
        self._in_thread = in_thread
        self._clock = clock
        self._ready: AcmeClient | None = None
        self._stored_key = b""
        self._lock = DeferredLock()

    async def client(self) -> AcmeClient:
        """What speaks for the account.

        :raises AcmeError: if the directory does not register it.
        :raises AcmeStoreUnusable: if its key cannot be kept.
        """
        async with self._lock:
            if self._ready is None or await self._may_have_other_key():
                lock = await self._locked()
                try:
                    self._ready = await self._registered()
                finally:
                    lock.release()
            return self._ready

    async def roll_key(self) -> None:
        """Sign with a new key from now on (RFC 8555, 7.3.5).

        :raises AcmeError: if the directory does not accept it; the old one stays. Where its answer was lost, it is asked before
            the next request which of the two it has.
        """
        client = await self.client()
        async with self._lock:
            lock = await self._locked()
            try:
                new = AccountKey.generate()
                await self._in_thread(lambda: self._storage.keep_next_key(new.pem))
                try:
                    await client.roll_key(new)
                except DirectoryUnavailable:
                    raise
                except AcmeError:
                    await self._in_thread(self._storage.forget_next_key)
                    raise
                await self._save(new, client.account_url or "")
                await self._in_thread(self._storage.forget_next_key)
            finally:
                lock.release()
        log.info("ACME account {url} has a new key", url=client.account_url)

    async def _may_have_other_key(self) -> bool:
        """Whether another process has given the account a new key, or it is not known whether the last one is in use."""
        stored = await self._in_thread(self._storage.account)
        is_other = stored is not None and stored.key != self._stored_key
        return is_other or await self._in_thread(self._storage.next_key) is not None

    async def _locked(self) -> StoreLock:
        while (lock := await self._in_thread(self._storage.lock_account)) is None:
            await deferLater(self._clock, _LOCK_INTERVAL)
        return lock

    async def _settle_next_key(self) -> None:
        """Find out whether a new key has become the account's: its process was killed, or the directory's answer was lost.

        :raises AcmeError: if the directory does not say.
        """
        pem = await self._in_thread(self._storage.next_key)
        if pem is None:
            return
        try:
            client = self._make_client(AccountKey.from_pem(pem))
        except ValueError:
            client = None  # damaged: it cannot be used in any case
        if client is not None and await client.find():
            former = await self._in_thread(self._storage.account)
            email = None if former is None else former.email
            account = StoredAccount(pem, client.account_url or "", email)
            await self._in_thread(lambda: self._storage.save_account(account))
        await self._in_thread(self._storage.forget_next_key)

    async def _registered(self) -> AcmeClient:
        await self._settle_next_key()
        stored = await self._in_thread(self._storage.account)
        key = None if stored is None else await self._usable_key(stored)
        if stored is None or key is None:
            return await self._register(AccountKey.generate())
        self._stored_key = stored.key
        if not stored.url:
            return await self._register(key)
        client = self._make_client(key)
        client.account_url = stored.url
        client.use(self._plan.email, self._plan.external_account)
        if stored.email != self._plan.email:
            await client.update_contact(self._plan.email)
            await self._save(key, stored.url)
        return client

    async def _usable_key(self, stored: StoredAccount) -> AccountKey | None:
        """The key of the stored account; ``None`` where it is damaged."""
        try:
            return AccountKey.from_pem(stored.key)
        except ValueError as problem:
            await self._in_thread(self._storage.set_account_aside)
            log.error(  # noqa: TRY400 - the text says it all
                "ACME account key in {store} cannot be used, a new account is made: {problem}",
                store=self._storage.path,
                problem=problem,
            )
        return None

    async def _register(self, key: AccountKey) -> AcmeClient:
        """Register ``key``. It is kept before: a directory that knows a key finds its account by it."""
        await self._save(key, "")
        client = self._make_client(key)
        url = await client.register(self._plan.email, self._plan.external_account)
        await self._save(key, url)
        log.info("ACME account registered at {directory}: {url}", directory=self._plan.directory, url=url)
        return client

    async def _save(self, key: AccountKey, url: str) -> None:
        account = StoredAccount(key.pem, url, self._plan.email)
        await self._in_thread(lambda: self._storage.save_account(account))
        self._stored_key = account.key
