"""The account gets a new key, and it is not known whether the directory has taken it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.acme.jose import AccountKey
from smartproxy.acme.registration import Registration
from smartproxy.acme.storage import AcmeStorage
from smartproxy.errors import AcmeError, DirectoryUnavailable
from smartproxy.flow.threads import call_here
from smartproxy.model.plan import AcmePlan
from tests.acme.directory import BASE, MemoryDirectory, answer

URL = f"{BASE}directory"


class LostAnswerTests(SynchronousTestCase):
    """An account whose requests are signed with another key can order nothing: its certificates would expire."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.directory = MemoryDirectory()
        self.storage = AcmeStorage(str(self.path), URL)
        self.storage.prepare()
        self.registration = self.process()
        self.url = self.client(self.registration).account_url

    def process(self) -> Registration:
        """Another process on the store, or the next start."""
        plan = AcmePlan(URL, str(self.path))
        return Registration(plan, self.storage, self.directory.client, call_here, self.directory.clock)

    def client(self, registration: Registration) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(registration.client()))

    def roll(self, why: type[AcmeError]) -> None:
        rolled = Deferred.fromCoroutine(self.registration.roll_key())
        self.directory.clock.pump([1.0] * 10)
        self.failureResultOf(rolled, why)

    def assert_usable(self, registration: Registration) -> None:
        """The account can be changed with the key, and this key is in the store."""
        client = self.client(registration)
        self.assertEqual(client.account_url, self.url)
        self.successResultOf(Deferred.fromCoroutine(client.update_contact("a@b.example")))
        self.assertEqual(self.stored_key(), client.key.thumbprint)
        self.assertIsNone(self.storage.next_key())

    def stored_key(self) -> str:
        stored = self.storage.account()
        assert stored is not None
        return AccountKey.from_pem(stored.key).thumbprint

    def test_new_key_that_the_directory_has_taken_is_used(self) -> None:
        other = self.process()
        self.client(other)
        former = self.stored_key()
        self.directory.lost = ["key-change"]
        self.roll(DirectoryUnavailable)
        self.assert_usable(other)
        self.assert_usable(self.registration)
        self.assertNotEqual(self.stored_key(), former)

    def test_new_key_is_found_by_the_next_start(self) -> None:
        self.directory.lost = ["key-change"]
        self.roll(DirectoryUnavailable)
        self.assert_usable(self.process())

    def test_former_key_is_used_where_the_directory_has_not_taken_the_new_one(self) -> None:
        former = self.stored_key()
        self.directory.faults["key-change"] = [answer(503)]
        self.roll(DirectoryUnavailable)
        self.assert_usable(self.registration)
        self.assertEqual(self.stored_key(), former)

    def test_refused_key_is_forgotten(self) -> None:
        self.directory.faults["key-change"] = [answer(409, {"type": "urn:ietf:params:acme:error:malformed"})]
        self.roll(AcmeError)
        self.assertIsNone(self.storage.next_key())
        self.assert_usable(self.registration)

    def test_damaged_key_is_forgotten(self) -> None:
        self.storage.keep_next_key(b"damaged")
        self.assert_usable(self.process())
