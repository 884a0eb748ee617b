"""Orders: from names to a chain, and everything a directory can answer on the way."""

from __future__ import annotations

from cryptography import x509
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import capturedLogs, formatEvent

from smartproxy.acme.ordering import MAX_PROOFS
from smartproxy.acme.polling import LIMIT
from smartproxy.errors import AcmeError, AcmeStoreUnusable
from smartproxy.model.plan import ChallengeType
from smartproxy.tls.certificate import names_of
from tests.acme.cases import AcmeCase
from tests.acme.directory import Refusal, answer, rate_limited
from tests.tls.made import key


class IssuedTests(AcmeCase):
    def test_a_chain_is_issued_leaf_first_for_our_key(self) -> None:
        """The chain is what the TLS store loads, so it has nothing but certificates."""
        chain = self.finished(self.order("a.example"))
        leaf, issuer = x509.load_pem_x509_certificates(chain)
        self.assertEqual(names_of(leaf), ("a.example",))
        self.assertEqual(leaf.public_key(), key("ec", 0).public_key())
        self.assertEqual(issuer, self.directory.authority.certificate)
        self.assertEqual(chain.count(b"-----BEGIN"), 2)
        self.assertEqual(self.solver.log, ["present http-01 a.example", "cleanup http-01 a.example"])

    def test_names_wildcards_and_addresses_share_a_certificate(self) -> None:
        """All names of a route are in one certificate; an address is an identifier of its own type (RFC 8738)."""
        names = ("a.example", "*.a.example", "192.0.2.1", "2001:db8::1")
        self.assertEqual(set(names_of(self.issued(*names))), set(names))
        types = [one["type"] for one in self.posts("new-order")[0]["identifiers"]]
        self.assertEqual(types, ["dns", "dns", "ip", "ip"])

    def test_a_wildcard_is_proven_by_dns_without_its_star(self) -> None:
        """RFC 8555, 7.1.3: the star is part of the order, not of the name that is proven."""
        self.issued("*.a.example")
        self.assertEqual(self.solver.log[0], "present dns-01 a.example")

    def test_the_first_preferred_challenge_that_is_offered_is_used(self) -> None:
        """Neither the directory's order counts, nor a type of the future."""
        self.directory.offers["a.example"] = ["dns-01", "tls-alpn-01", "new-01"]
        self.issued("a.example")
        self.assertEqual(self.solver.log[0], "present tls-alpn-01 a.example")

    def test_key_authorization_has_token_and_thumbprint(self) -> None:
        """RFC 8555, 8.1: the answer proves who has the account."""
        self.solver.present_waits = Deferred()
        order = self.order("a.example")
        (challenge,) = self.solver.shown
        (shown,) = self.directory.shown.values()
        self.assertEqual(challenge.key_authorization, shown)
        self.solver.present_waits.callback(None)
        self.finished(order)

    def test_an_authorization_that_is_valid_needs_no_challenge(self) -> None:
        """An authority keeps a proof for weeks, so a renewal asks for none."""
        self.directory.reused = {"a.example"}
        self.issued("a.example", "b.example")
        self.assertEqual(self.solver.log, ["present http-01 b.example", "cleanup http-01 b.example"])

    def test_at_most_ten_names_are_proven_at_once(self) -> None:
        """A certificate of 100 names must not open 100 connections."""
        self.directory.processing = 2
        names = [f"n{number}.example" for number in range(25)]
        self.assertEqual(len(names_of(self.issued(*names))), 25)
        self.assertEqual(self.solver.most, MAX_PROOFS)

    def test_states_in_between_are_waited_for_with_growing_pauses(self) -> None:
        """An authority takes seconds to look and to sign; asking all the time counts as a flood."""
        self.directory.processing = 5
        order = self.order("a.example")
        self.finished(order)
        self.assertEqual(self.directory.asked.count("POST authz"), 1 + 6)
        self.assertEqual(self.clock.seconds(), (0.25 + 0.5 + 1 + 2 + 4) + (0.25 + 0.5 + 1 + 2))

    def test_retry_after_of_a_state_in_between_is_followed(self) -> None:
        """An authority under load asks for patience by it."""
        self.directory.processing, self.directory.retry_after = 1, "30"
        self.finished(self.order("a.example"))
        self.assertEqual(self.clock.seconds(), 30)

    def test_only_directory_and_nonce_are_fetched_unsigned(self) -> None:
        """RFC 8555, 6.3: everything else is POST-as-GET."""
        self.issued("a.example")
        self.assertEqual(
            {one for one in self.directory.asked if not one.startswith("POST")},
            {"GET directory", "HEAD new-nonce"},
        )

    def test_nonces_of_answers_are_used_again(self) -> None:
        """Otherwise each request would need another one before it."""
        self.issued("a.example")
        self.assertEqual(self.directory.asked.count("HEAD new-nonce"), 1)


class ProfileTests(AcmeCase):
    def test_a_profile_is_asked_for_only_if_it_is_given(self) -> None:
        """A directory without profiles may refuse the member."""
        self.directory.meta["profiles"] = {"short": "six days"}
        self.issued("a.example")
        self.issued("b.example", profile="short")
        self.assertEqual([one.get("profile") for one in self.posts("new-order")], [None, "short"])

    def test_an_unknown_profile_is_refused_with_those_there_are(self) -> None:
        """The order would fail anyway, and count."""
        self.directory.meta["profiles"] = {"short": "six days", "classic": "90 days"}
        error = self.refused(self.order("a.example", profile="long"))
        self.assertEqual(
            error.text,
            "order for a.example: the directory has no profile long; set acme.profile to one of classic, short",
        )
        self.assertEqual(error.kind, "invalidProfile")


class ReplacesTests(AcmeCase):
    def test_replaces_is_sent_where_the_directory_has_renewal_info(self) -> None:
        """RFC 9773, 5: not to a directory without it."""
        self.issued("a.example", replaces="aki.serial")
        self.directory.without.add("renewalInfo")
        self.client = self.directory.client()
        self.issued("a.example", replaces="aki.serial")
        self.assertEqual([one.get("replaces") for one in self.posts("new-order")], ["aki.serial", None])

    def test_a_refused_replaces_is_left_out_once(self) -> None:
        """A renewal must not fail because the directory has lost or replaced the former certificate."""
        for kind in ("alreadyReplaced", "malformed", "unauthorized"):
            refusal = Refusal(kind, status=409)
            self.directory.faults["new-order"] = [answer(409, refusal.problem)]
            self.issued("a.example", replaces="aki.serial")
            self.assertNotIn("replaces", self.posts("new-order")[-1])

    def test_another_refusal_of_such_an_order_is_raised(self) -> None:
        """A second order would count for the limit that has just been exceeded."""
        self.directory.faults["new-order"] = [rate_limited(60)]
        self.assertEqual(self.refused(self.order("a.example", replaces="x.y")).kind, "rateLimited")


class RefusedTests(AcmeCase):
    def test_no_common_challenge_says_what_is_offered_and_configured(self) -> None:
        """As a wildcard with http-01 only."""
        error = self.refused(self.order("*.a.example", preferred=(ChallengeType.HTTP_01,)))
        self.assertEqual(
            error.text,
            "*.a.example: the directory offers the challenges dns-01, and configured are http-01; change acme.challenge",
        )

    def test_an_invalid_challenge_has_its_error_name_and_hint(self) -> None:
        """The operator reads this line, and nothing else, to find out why there is no certificate."""
        self.directory.decides["b.example"] = {
            "type": "urn:ietf:params:acme:error:connection",
            "detail": "192.0.2.1: Fetching http://b.example/:\nConnection refused",
        }
        error = self.refused(self.order("a.example", "b.example"))
        self.assertEqual((error.kind, error.names), ("connection", ("b.example",)))
        self.assertIn(
            "http-01 of b.example: 192.0.2.1: Fetching http://b.example/: Connection refused (connection); check that",
            error.text,
        )
        self.assertEqual(len([one for one in self.solver.log if one.startswith("cleanup")]), 2)

    def test_a_rate_limit_has_its_time(self) -> None:
        """The schedule waits for it, and nothing is repeated before."""
        self.directory.faults["new-order"] = [rate_limited(3600)]
        error = self.refused(self.order("a.example"))
        self.assertEqual((error.kind, error.retry_after), ("rateLimited", 3600.0))
        self.assertEqual(self.directory.asked.count("POST new-order"), 1)

    def test_an_authorization_that_never_settles_ends_in_time(self) -> None:
        """Otherwise a stuck order would keep the name from being ordered again."""
        self.directory.processing = 10_000
        error = self.refused(self.order("a.example"), LIMIT + 1)
        self.assertIn("has not decided within 300 s", error.text)

    def test_a_proof_of_a_name_that_was_not_ordered_is_refused(self) -> None:
        """A directory must not make us prove to another one, through it, that we control other names."""
        self.directory.altered["authz"] = lambda made: made._replace(
            body=made.body.replace(b"a.example", b"x.example")
        )
        error = self.refused(self.order("a.example"))
        self.assertIn("x.example: the directory asks for a proof of a name that was not ordered", error.text)
        self.assertEqual(self.solver.log, [])

    def test_a_token_that_is_no_base64url_is_refused(self) -> None:
        """It becomes a path: ``../`` in it would answer for another one."""
        self.directory.altered["authz"] = lambda made: made._replace(
            body=made.body.replace(b"token-", b"../token-")
        )
        self.assertIn(
            '"token" in the directory\'s answer is not base64url', self.refused(self.order("a.example")).text
        )

    def test_an_order_that_becomes_invalid_has_its_error(self) -> None:
        """CAA records are checked again when the certificate is requested."""
        problem = {"type": "urn:ietf:params:acme:error:caa", "detail": "CAA record for a.example forbids it"}
        self.directory.altered["finalize"] = lambda made: made._replace(
            body=made.body.replace(b'"status": "valid"', b'"status": "invalid", "error": %s' % _json(problem))
        )
        error = self.refused(self.order("a.example"))
        self.assertIn(
            "order for a.example: CAA record for a.example forbids it (caa); add a CAA record", error.text
        )

    def test_a_certificate_for_another_key_or_name_is_refused(self) -> None:
        """Such a chain would break TLS of the route that serves it."""
        other = self.directory.authority.leaf("a.example", number=1).pem
        fewer = self.directory.authority.leaf("a.example").pem
        for chain, names, said in (
            (other, ("a.example",), "is for another key"),
            (fewer, ("a.example", "b.example"), "is not for b.example"),
            (b"-----BEGIN CERTIFICATE-----\nx\n", ("a.example",), "is not a chain of certificates"),
            (b"", ("a.example",), "is not a chain of certificates"),
        ):
            self.directory.faults["certificate"] = [answer(200, chain)]
            self.assertIn(said, self.refused(self.order(*names)).text)

    def test_a_name_no_certificate_can_have_is_refused(self) -> None:
        """Before anything is ordered."""
        self.assertIn("can be in a certificate", self.refused(self.order("ä.example")).text)


def _json(value: object) -> bytes:
    return answer(200, value).body


class SolverTests(AcmeCase):
    def test_a_solver_that_fails_is_named_and_cleaned_up(self) -> None:
        """What it has done before it failed must not stay."""
        self.solver.present_fails = OSError("disk full")
        error = self.refused(self.order("a.example"))
        self.assertEqual(error.text, "http-01 of a.example could not be prepared: OSError: disk full")
        self.assertEqual(error.names, ("a.example",))
        self.assertEqual(self.solver.log[-1], "cleanup http-01 a.example")
        self.assertNotIn("POST challenge", self.directory.asked)

    def test_an_error_of_a_solver_is_about_its_name(self) -> None:
        """Its text is of the solver, which may not know that it is one name of several."""
        self.solver.present_fails = AcmeError("hook exited with 3")
        error = self.refused(self.order("a.example"))
        self.assertEqual((error.text, error.names), ("hook exited with 3", ("a.example",)))

    def test_a_failed_clean_up_does_not_fail_the_order(self) -> None:
        """The certificate is there; the log has what was left."""
        self.solver.cleanup_fails = OSError("gone")
        self.issued("a.example")

    def test_values_of_one_record_are_cleaned_up_together(self) -> None:
        """A name and its wildcard have one record, and a command may remove that as a whole: also the value that is not read yet."""
        self.directory.processing = 1
        for names in (("a.example", "*.a.example"), ("*.a.example", "a.example")):
            self.solver.log.clear()
            self.solver.present_waits = {1: (second := Deferred())}
            order = self.order(*names, "b.example", preferred=[ChallengeType.DNS_01])
            self.run_clock(order, 400.0)
            self.assertEqual(
                self.solver.log,
                ["present dns-01 a.example"] * 2 + ["present dns-01 b.example", "cleanup dns-01 b.example"],
            )
            second.callback(None)
            self.finished(order)
            self.assertEqual(self.solver.log[4:], ["cleanup dns-01 a.example"] * 2)

    def test_values_of_one_record_are_cleaned_up_where_one_fails(self) -> None:
        self.directory.processing = 1
        self.solver.present_waits = {1: Deferred()}
        order = self.order("a.example", "*.a.example", preferred=[ChallengeType.DNS_01])
        self.run_clock(order, 400.0)
        self.assertEqual(self.solver.log, ["present dns-01 a.example"] * 2)
        self.solver.present_waits[1].errback(AcmeError("hook exited with 3"))
        self.assertEqual(self.refused(order).text, "hook exited with 3")
        self.assertEqual(self.solver.log[2:], ["cleanup dns-01 a.example"] * 2)

    def test_values_of_one_record_are_cleaned_up_after_a_cancel(self) -> None:
        self.directory.processing = 1
        self.solver.present_waits = {1: Deferred()}
        order = self.order("a.example", "*.a.example", preferred=[ChallengeType.DNS_01])
        order.cancel()
        self.failureResultOf(order, CancelledError)
        self.assertEqual(self.solver.log[2:], ["cleanup dns-01 a.example"] * 2)

    def test_failed_command_is_told_in_its_own_words(self) -> None:
        self.solver.cleanup_fails = AcmeError("dns.sh cleanup exited with 3")
        with capturedLogs() as logged:
            self.issued("a.example")
        self.assertEqual(
            [formatEvent(event) for event in logged],
            ["http-01 of a.example could not be cleaned up: dns.sh cleanup exited with 3"],
        )

    def test_store_that_cannot_be_written_is_told_in_its_own_words(self) -> None:
        self.solver.present_fails = AcmeStoreUnusable("/store: cannot be written: No space left on device")
        started = self.order("a.example")
        self.run_clock(started, 400.0)
        self.assertIn("No space left", str(self.failureResultOf(started, AcmeStoreUnusable).value))

    def test_a_cancel_while_the_answer_is_prepared_cleans_up(self) -> None:
        """A reload or a stop may come at any time."""
        self.solver.present_waits = Deferred()
        order = self.order("a.example", "b.example")
        order.cancel()
        self.failureResultOf(order, CancelledError)
        self.assertEqual(self.solver.shown, [])

    def test_a_cancel_while_the_directory_looks_cleans_up_first(self) -> None:
        """The order has not ended before its answers are removed."""
        self.directory.processing = 5
        self.solver.cleanup_waits = Deferred()
        order = self.order("a.example")
        self.clock.advance(0.25)
        order.cancel()
        self.assertNoResult(order)
        self.solver.cleanup_waits.callback(None)
        self.failureResultOf(order, CancelledError)
        self.assertEqual(self.solver.shown, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_cancel_while_cleaning_up_lets_that_finish(self) -> None:
        """A record that stays in the DNS stays for good: no later order knows its value."""
        self.solver.cleanup_waits = Deferred()
        order = self.order("a.example")
        order.cancel()
        self.assertNoResult(order)
        self.solver.cleanup_waits.callback(None)
        self.failureResultOf(order, CancelledError)
        self.assertEqual(self.solver.shown, [])

    def test_a_second_cancel_ends_the_cleaning_up(self) -> None:
        """Who stops the process does not wait for a DNS provider that hangs."""
        self.solver.cleanup_waits = Deferred()
        order = self.order("a.example")
        order.cancel()
        order.cancel()
        self.failureResultOf(order, CancelledError)
