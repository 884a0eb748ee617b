"""The account: made, found, changed, and registered again when the directory has lost it."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from smartproxy.acme.jose import AccountKey
from smartproxy.acme.requests import AcmeAnswer
from smartproxy.acme.signed import DIRECTORY_LIFE, MAX_NONCES, MAX_REJECTED
from smartproxy.errors import DirectoryUnavailable
from smartproxy.model.plan import ExternalAccount
from tests.acme.cases import AcmeCase
from tests.acme.directory import WALL, Refusal, answer, rate_limited

EXTERNAL = ExternalAccount("kid-1", b"secret")


class RegisterTests(AcmeCase):
    def test_an_account_is_made_with_contact_and_terms(self) -> None:
        """RFC 8555, 7.3: a directory refuses an account that has not agreed to its terms."""
        url = self.done(self.client.register("admin@a.example", None))
        self.assertEqual(self.client.account_url, url)
        self.assertEqual(self.directory.accounts[url].contact, ["mailto:admin@a.example"])

    def test_an_account_without_email_has_no_contact(self) -> None:
        """The address is optional, and an empty list is not the same to every directory."""
        url = self.done(self.client.register(None, None))
        self.assertEqual(self.directory.accounts[url].contact, [])
        self.assertNotIn("contact", self.posts("new-account")[0])

    def test_the_account_of_a_key_is_found_again(self) -> None:
        """So that a lost store of URLs does not make another account for each start."""
        key = AccountKey.generate()
        url = self.done(self.directory.client(key).register(None, None))
        again = self.directory.client(AccountKey.from_pem(key.pem))
        self.assertEqual(self.done(again.register("x@a.example", None)), url)
        self.assertEqual(len(self.directory.accounts), 1)

    def test_credentials_of_the_authority_are_sent_and_signed(self) -> None:
        """ZeroSSL and others know their customers by them."""
        self.directory.meta["externalAccountRequired"] = True
        self.directory.external["kid-1"] = b"secret"
        url = self.done(self.client.register(None, EXTERNAL))
        self.assertEqual(self.directory.accounts[url].key_id, "kid-1")

    def test_wrong_credentials_are_refused_with_a_hint(self) -> None:
        """The directory only says that a MAC is wrong; the operator needs the key of the configuration."""
        self.directory.external["kid-1"] = b"other"
        error = self.refused(self.start(self.client.register(None, EXTERNAL)))
        self.assertEqual(error.kind, "unauthorized")
        self.assertIn("acme.eab", error.text)

    def test_missing_credentials_are_asked_for_by_their_key(self) -> None:
        """The text names what to set, and no request without them is counted as an attempt."""
        self.directory.meta["externalAccountRequired"] = True
        error = self.refused(self.start(self.client.register(None, None)))
        self.assertEqual(error.kind, "externalAccountRequired")
        self.assertEqual(
            error.text,
            "account at https://acme.test/directory: the directory requires credentials of its customers; "
            "set acme.eab to the credentials that the authority has given you",
        )

    def test_an_existing_account_needs_no_credentials_again(self) -> None:
        """They are often valid once, so a restart must work without them."""
        self.directory.meta["externalAccountRequired"] = True
        self.directory.external["kid-1"] = b"secret"
        key = AccountKey.generate()
        url = self.done(self.directory.client(key).register(None, EXTERNAL))
        self.assertEqual(self.done(self.directory.client(key).register(None, None)), url)

    def test_changed_terms_name_the_page_to_read(self) -> None:
        """RFC 8555, 7.3.3: the page is in the problem, and only a human can agree."""
        refusal = Refusal("userActionRequired", "terms have changed", 403, instance="https://acme.test/new")
        self.directory.faults["new-account"] = [answer(403, refusal.problem)]
        error = self.refused(self.start(self.client.register(None, None)))
        self.assertTrue(
            error.text.endswith("agree to the authority's new terms of service: https://acme.test/new")
        )


class ChangeTests(AcmeCase):
    def test_contact_is_changed_and_removed(self) -> None:
        """A changed acme.email applies to the account that there is."""
        url = self.done(self.client.register("a@a.example", None))
        self.done(self.client.update_contact("b@a.example"))
        self.assertEqual(self.directory.accounts[url].contact, ["mailto:b@a.example"])
        self.done(self.client.update_contact(None))
        self.assertEqual(self.directory.accounts[url].contact, [])

    def test_contact_of_a_lost_account_is_that_of_the_new_one(self) -> None:
        """The account has another URL then, so the same request again would fail."""
        self.done(self.client.register("a@a.example", None))
        self.directory.accounts.clear()
        self.done(self.client.update_contact("b@a.example"))
        (account,) = self.directory.accounts.values()
        self.assertEqual((account.url, account.contact), (self.client.account_url, ["mailto:b@a.example"]))

    def test_a_new_key_is_used_after_the_change(self) -> None:
        """Both signatures are checked by the directory, and the next order is signed with the new key."""
        self.done(self.client.register(None, None))
        new = AccountKey.generate()
        self.done(self.client.roll_key(new))
        self.assertIs(self.client.key, new)
        (account,) = self.directory.accounts.values()
        self.assertEqual(account.jwk, new.jwk)
        self.issued("a.example")

    def test_a_refused_change_keeps_the_former_key(self) -> None:
        """Otherwise every later request would be signed with a key that the directory does not know."""
        self.done(self.client.register(None, None))
        former = self.client.key
        self.directory.faults["key-change"] = [answer(409, {"type": "urn:ietf:params:acme:error:malformed"})]
        self.refused(self.start(self.client.roll_key(AccountKey.generate())))
        self.assertIs(self.client.key, former)
        self.issued("a.example")

    def test_a_directory_without_the_resource_says_so(self) -> None:
        """Not every authority supports it."""
        self.directory.without.add("keyChange")
        self.assertIn(
            "cannot change keys", self.refused(self.start(self.client.roll_key(AccountKey.generate()))).text
        )


class LostAccountTests(AcmeCase):
    def test_an_order_without_an_account_registers_once(self) -> None:
        """Several certificates are ordered at the first start, and share one account."""
        self.client.use("a@a.example", None)
        orders = [self.order("a.example"), self.order("b.example")]
        for each in orders:
            self.finished(each)
        (account,) = self.directory.accounts.values()
        self.assertEqual(account.contact, ["mailto:a@a.example"])
        self.assertEqual(self.directory.asked.count("POST new-account"), 1)

    def test_orders_at_once_wait_for_one_registration(self) -> None:
        """The answer takes time, and the second order must not register meanwhile."""
        url = self.done(self.directory.client(self.client.key).register(None, None))
        registered: Deferred[AcmeAnswer] = Deferred()
        self.directory.asked.clear()
        self.directory.faults["new-account"] = [registered]
        orders = [self.order("a.example"), self.order("b.example")]
        registered.callback(answer(200, {}, Location=url))
        for each in orders:
            self.finished(each)
        self.assertEqual(self.directory.asked.count("POST new-account"), 1)

    def test_an_account_that_the_directory_lost_is_made_again(self) -> None:
        """As after the restore of an authority's backup: orders go on, with the same contact and credentials."""
        self.directory.external["kid-1"] = b"secret"
        self.done(self.client.register("a@a.example", EXTERNAL))
        self.directory.accounts.clear()
        self.issued("a.example")
        (account,) = self.directory.accounts.values()
        self.assertEqual(
            (account.url, account.contact, account.key_id),
            (self.client.account_url, ["mailto:a@a.example"], "kid-1"),
        )

    def test_an_account_that_stays_unknown_is_not_made_forever(self) -> None:
        """A directory with a failure must not be filled with accounts."""
        self.client.account_url = "https://acme.test/account/stored"
        refusal = answer(400, Refusal("accountDoesNotExist").problem)
        self.directory.faults["new-order"] = [refusal] * 5
        self.assertEqual(self.refused(self.order("a.example")).kind, "accountDoesNotExist")
        self.assertEqual(self.directory.asked.count("POST new-account"), 1)


class NonceTests(AcmeCase):
    def test_rejected_nonces_are_replaced_by_that_of_the_rejection(self) -> None:
        """RFC 8555, 6.5: no request for a nonce is needed."""
        self.done(self.client.register(None, None))
        self.directory.bad_nonces = MAX_REJECTED - 1
        self.issued("a.example")
        self.assertEqual(self.directory.asked.count("HEAD new-nonce"), 1)

    def test_many_stale_nonces_cost_one_rejection(self) -> None:
        """After a day, or a restart of the directory, all that are kept are stale; the one in the rejection is not."""
        self.client._server._nonces.extend(f"stale-{number}" for number in range(MAX_NONCES))
        self.done(self.client.register(None, None))
        self.assertEqual(self.directory.asked, ["GET directory", "POST new-account", "POST new-account"])

    def test_nonces_that_are_rejected_forever_are_an_error(self) -> None:
        """Such a directory would be asked in an endless loop."""
        self.directory.bad_nonces = 1000
        error = self.refused(self.start(self.client.register(None, None)))
        self.assertEqual(error.kind, "badNonce")
        self.assertEqual(self.directory.asked.count("POST new-account"), MAX_REJECTED)

    def test_a_rejection_without_a_nonce_asks_for_one(self) -> None:
        """The rejection need not have a usable one."""
        self.directory.faults["new-account"] = [
            answer(400, Refusal("badNonce").problem, **{"Replay-Nonce": "not a nonce"})
        ]
        self.done(self.client.register(None, None))
        self.assertEqual(self.directory.asked.count("HEAD new-nonce"), 2)


class DirectoryTests(AcmeCase):
    def test_resources_are_kept_for_a_day(self) -> None:
        """They rarely change, and are needed for each order."""
        self.directory.meta.update({"website": "https://a.example", "profiles": {"short": "six days"}})
        found = self.done(self.client.directory())
        self.assertEqual((found.website, found.terms, found.key_change), (
            "https://a.example", "https://acme.test/terms", "https://acme.test/key-change"
        ))  # fmt: skip
        self.assertEqual(found.profiles, {"short": "six days"})
        self.assertFalse(found.requires_external_account)
        self.clock.advance(DIRECTORY_LIFE - 1)
        self.done(self.client.directory())
        self.assertEqual(self.directory.asked, ["GET directory"])
        self.clock.advance(1)
        self.done(self.client.directory())
        self.assertEqual(self.directory.asked, ["GET directory"] * 2)

    def test_url_of_something_else_is_told(self) -> None:
        for other in (answer(404), answer(200, b"<html>")):
            self.directory.faults["directory"] = [other]
            failed = self.refused(self.start(self.client.directory()))
            self.assertTrue(failed.text.endswith("; check acme.directory"), failed.text)

    def test_members_without_a_value_are_as_if_missing(self) -> None:
        """Encoders of Go and Java write null for what is not there."""
        self.directory.meta = None
        self.directory.altered["directory"] = lambda made: made._replace(
            body=made.body.replace(b'"https://acme.test/renewal-info"', b"null")
        )
        found = self.done(self.client.directory())
        self.assertEqual((found.terms, found.profiles, found.renewal_info), (None, {}, None))


class RenewalInfoTests(AcmeCase):
    def test_a_window_is_asked_for_without_an_account(self) -> None:
        """RFC 9773, 4.1: the question is not signed."""
        self.directory.retry_after = "7200"
        info = self.done(self.client.renewal_info("aki.serial"))
        self.assertEqual(info.window, (1_700_438_400.0, 1_700_524_800.0))
        self.assertEqual(info.retry_after, 7200.0)
        self.assertEqual(self.directory.asked, ["GET directory", "GET renewal-info"])

    def test_a_directory_without_it_has_none(self) -> None:
        """Then the time of renewal follows from the lifetime."""
        self.directory.without.add("renewalInfo")
        self.assertIsNone(self.done(self.client.renewal_info("aki.serial")))

    def test_malformed_answers_are_errors(self) -> None:
        """A window that is misread would renew at once, or never."""
        bodies = (
            b"", b"[]", b"{}", b'{"suggestedWindow": 5}', b'{"suggestedWindow": {"start": 5, "end": 6}}',
            b'{"suggestedWindow": {"start": "2023-11-20T00:00:00Z", "end": "2023-11-20T00:00:00Z"}}',
            b'{"suggestedWindow": {"start": "2023-11-20T00:00:00", "end": "2023-11-21T00:00:00"}}',
            b'{"suggestedWindow": {"start": "yesterday", "end": "2023-11-21T00:00:00Z"}}',
        )  # fmt: skip
        for body in bodies:
            self.directory.faults["renewal-info"] = [answer(200, body)]
            self.assertIn("aki.serial", self.refused(self.start(self.client.renewal_info("aki.serial"))).text)

    def test_a_failure_of_the_directory_is_raised(self) -> None:
        """The caller knows that there is a window, and asks again later."""
        self.directory.faults["renewal-info"] = [answer(500)] * 3
        self.assertIsInstance(self.refused(self.start(self.client.renewal_info("a.b"))), DirectoryUnavailable)


class RetryAfterTests(AcmeCase):
    def limited(self, value: str) -> float | None:
        made = rate_limited(0)
        headers = type(made.headers)({"Retry-After": value})
        self.directory.faults["new-account"] = [made._replace(headers=headers)]
        return self.refused(self.start(self.client.register(None, None))).retry_after

    def test_seconds_and_dates_are_read_and_bounded_by_a_day(self) -> None:
        """A year in this field, by mistake, must not stop renewals for a year."""
        self.assertEqual(WALL, 1_700_000_000)
        for value, seconds in (
            ("0", 0.0), ("60", 60.0), ("9" * 400, 86400.0), ("Tue, 14 Nov 2023 22:14:20 GMT", 60.0),
            ("Tue, 14 Nov 2023 22:12:20 GMT", 0.0), ("Tue, 14 Nov 2033 22:14:20 GMT", 86400.0),
            ("soon", None), ("", None), ("-5", None), ("1.5", None), ("²", None), ("Tue, 99 Nov 2023 99:99:99 GMT", None),
        ):  # fmt: skip
            self.assertEqual(self.limited(value), seconds, value)
