"""The account at a directory: found in the store, or registered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.acme.jose import AccountKey
from smartproxy.acme.registration import Registration
from smartproxy.acme.storage import AcmeStorage
from smartproxy.errors import AcmeError, AcmeStoreUnusable
from smartproxy.flow.threads import call_here
from smartproxy.model.plan import AcmePlan, ExternalAccount

URL = "https://acme.example/dir"
EXTERNAL = ExternalAccount("kid-1", b"secret")


class Directory:
    """Stands for a directory: knows accounts by their keys."""

    def __init__(self) -> None:
        self.accounts: dict[str, str] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.fails: Exception | None = None
        self.waits: Deferred[None] | None = None

    def client(self, key: AccountKey) -> Any:
        return Client(self, key)


class Client:
    """Speaks for one key."""

    def __init__(self, directory: Directory, key: AccountKey) -> None:
        self._directory = directory
        self.key = key
        self.account_url: str | None = None

    def use(self, email: str | None, external: ExternalAccount | None) -> None:
        self.terms = email, external

    async def register(self, email: str | None, external: ExternalAccount | None) -> str:
        directory = self._directory
        directory.calls.append(("register", email, external))
        if directory.waits is not None:
            await directory.waits
        if directory.fails is not None:
            raise directory.fails
        url = f"{URL}/{len(directory.accounts)}"
        self.account_url = directory.accounts.setdefault(self.key.thumbprint, url)
        return self.account_url

    async def update_contact(self, email: str | None) -> None:
        self._directory.calls.append(("contact", email))

    async def roll_key(self, new: AccountKey) -> None:
        self._directory.calls.append(("roll",))
        if self._directory.fails is not None:
            raise self._directory.fails
        self._directory.accounts[new.thumbprint] = self._directory.accounts.pop(self.key.thumbprint)
        self.key = new


class RegistrationTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.directory = Directory()
        self.clock = Clock()

    def registration(self, **terms: Any) -> Registration:
        """That of another process, or of the next start."""
        storage = AcmeStorage(str(self.path), URL)
        storage.prepare()
        plan = AcmePlan(URL, str(self.path), **terms)
        return Registration(plan, storage, self.directory.client, call_here, self.clock)

    def client(self, **terms: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(self.registration(**terms).client()))

    def stored(self) -> Any:
        return AcmeStorage(str(self.path), URL).account()

    def test_is_registered_once_and_kept(self) -> None:
        first = self.client(email="a@b.example", external_account=EXTERNAL)
        again = self.client(email="a@b.example", external_account=EXTERNAL)
        self.assertEqual(self.directory.calls, [("register", "a@b.example", EXTERNAL)])
        self.assertEqual((again.account_url, again.key.thumbprint), (first.account_url, first.key.thumbprint))
        self.assertEqual(again.terms, ("a@b.example", EXTERNAL))

    def test_two_orders_at_once_register_once(self) -> None:
        self.directory.waits = Deferred()
        registration = self.registration()
        both = [Deferred.fromCoroutine(registration.client()) for _ in range(2)]
        self.directory.waits.callback(None)
        self.assertIs(*map(self.successResultOf, both))
        self.assertEqual(len(self.directory.calls), 1)

    def test_two_processes_have_one_account(self) -> None:
        self.directory.waits = Deferred()
        both = [Deferred.fromCoroutine(self.registration().client()) for _ in range(2)]
        self.clock.advance(1.0)
        self.directory.waits.callback(None)
        self.clock.advance(1.0)
        first, second = map(self.successResultOf, both)
        self.assertEqual(first.account_url, second.account_url)
        self.assertEqual(len(self.directory.calls), 1)

    def test_key_is_kept_before_it_is_registered(self) -> None:
        """A process that ends in between finds its account by the key."""
        self.directory.fails = AcmeError("down")
        failing = Deferred.fromCoroutine(self.registration().client())
        self.failureResultOf(failing, AcmeError)
        kept = AccountKey.from_pem(self.stored().key)
        self.directory.fails = None
        self.assertEqual(self.client().key.thumbprint, kept.thumbprint)

    def test_changed_email_is_told_once(self) -> None:
        self.client(email="a@b.example")
        self.client(email="c@d.example")
        self.client(email="c@d.example")
        self.assertEqual(self.directory.calls[1:], [("contact", "c@d.example")])

    def test_damaged_key_is_set_aside_for_a_new_account(self) -> None:
        self.client()
        (file,) = self.path.glob("*/account.key")
        file.write_bytes(b"damaged")
        self.client()
        self.assertEqual(len(self.directory.accounts), 2)
        (kept,) = self.path.glob("*/account.key.damaged-*")
        self.assertEqual(kept.read_bytes(), b"damaged")

    def test_new_key_is_used_and_kept(self) -> None:
        registration = self.registration()
        client = self.successResultOf(Deferred.fromCoroutine(registration.client()))
        former = client.key.thumbprint
        self.successResultOf(Deferred.fromCoroutine(registration.roll_key()))
        self.assertNotEqual(client.key.thumbprint, former)
        self.assertEqual(AccountKey.from_pem(self.stored().key).thumbprint, client.key.thumbprint)
        self.assertEqual(self.client().account_url, client.account_url)

    def test_new_key_of_another_process_is_used(self) -> None:
        """The directory refuses the former one, so this process could order nothing any more."""
        registration = self.registration()
        former = self.successResultOf(Deferred.fromCoroutine(registration.client()))
        other = self.registration()
        self.successResultOf(Deferred.fromCoroutine(other.roll_key()))
        client = self.successResultOf(Deferred.fromCoroutine(registration.client()))
        self.assertEqual(AccountKey.from_pem(self.stored().key).thumbprint, client.key.thumbprint)
        self.assertEqual(client.account_url, former.account_url)
        self.assertIs(self.successResultOf(Deferred.fromCoroutine(registration.client())), client)

    def test_former_key_stays_where_the_new_one_is_refused(self) -> None:
        registration = self.registration()
        client = self.successResultOf(Deferred.fromCoroutine(registration.client()))
        self.directory.fails = AcmeError("refused")
        self.failureResultOf(Deferred.fromCoroutine(registration.roll_key()), AcmeError)
        self.assertEqual(AccountKey.from_pem(self.stored().key).thumbprint, client.key.thumbprint)

    def test_account_that_cannot_be_kept_is_not_registered(self) -> None:
        registration = self.registration()
        (folder,) = self.path.glob("acme.example*")
        folder.rename(folder.with_name("moved"))
        self.failureResultOf(Deferred.fromCoroutine(registration.client()), AcmeStoreUnusable)
        self.assertEqual(self.directory.calls, [])
