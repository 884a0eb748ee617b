"""A directory that is down, loses answers, or answers something else than the protocol has."""

from __future__ import annotations

import json

from smartproxy.errors import DirectoryUnavailable
from tests.acme.cases import AcmeCase
from tests.acme.directory import answer


class RepeatedTests(AcmeCase):
    def test_two_failures_of_a_request_are_bridged(self) -> None:
        """A directory behind several servers fails now and then."""
        down = DirectoryUnavailable("acme.test: Connection refused")
        for resource in ("directory", "new-nonce", "new-account", "authz", "order", "certificate"):
            self.directory.faults[resource] = [answer(502, b"bad gateway"), down]
        self.issued("a.example")

    def test_a_third_failure_is_raised_with_what_was_asked(self) -> None:
        """The text says which request and which host."""
        down = DirectoryUnavailable("acme.test: Connection refused")
        self.directory.faults["directory"] = [down, down, down]
        error = self.refused(self.order("a.example"))
        self.assertIsInstance(error, DirectoryUnavailable)
        self.assertEqual(error.text, "directory https://acme.test/directory: acme.test: Connection refused")
        self.assertEqual(self.directory.asked, ["GET directory"] * 3)

    def test_a_long_retry_after_of_a_503_is_not_waited_for(self) -> None:
        """Whoever ordered has a schedule for this, and the time is his to wait."""
        self.directory.faults["authz"] = [answer(503, b"", **{"Retry-After": "120"})]
        error = self.refused(self.order("a.example"))
        self.assertEqual((error.retry_after, self.clock.seconds()), (120.0, 0.0))

    def test_an_order_is_not_made_twice(self) -> None:
        """Each order counts for a rate limit of the authority."""
        self.directory.lost = ["new-order"]
        self.refused(self.order("a.example"))
        self.assertEqual(len(self.posts("new-order")), 1)

    def test_lost_answers_to_challenge_and_finalize_do_no_harm(self) -> None:
        """Both have had their effect, so the same request again would be refused."""
        self.directory.processing = 2
        self.directory.lost = ["challenge", "finalize"]
        self.issued("a.example")
        self.assertEqual((len(self.posts("challenge")), len(self.posts("finalize"))), (1, 1))

    def test_requests_that_were_not_received_are_sent_again(self) -> None:
        """A challenge that nobody was told of would never be decided."""
        down = DirectoryUnavailable("acme.test: Connection refused")
        self.directory.faults.update({"challenge": [down], "finalize": [down]})
        self.issued("a.example")


class MalformedTests(AcmeCase):
    """Whatever is answered, at each step: an AcmeError, and nothing stays behind."""

    BODIES = (b"", b"{", b"[]", b"null", b"{}", b"[" * 100_000, b"\xff\xfe", b'{"status": 5}', b'"x"')

    def test_other_bodies_at_each_step(self) -> None:
        """From a captive portal's page to JSON that exhausts the parser's stack."""
        for resource in ("directory", "new-order", "authz", "finalize", "order", "certificate"):
            for body in self.BODIES:
                self.client = self.directory.client()
                self.directory.processing = 1
                self.directory.altered = {resource: lambda made, body=body: made._replace(body=body)}
                error = self.refused(self.order("a.example"))
                self.assertRegex(error.text, "the directory's|authorization|without a reason", resource)

    def test_members_of_other_types(self) -> None:
        """Never a KeyError or TypeError, which the log would show as a bug of ours."""
        for resource, member in (
            ("directory", "newNonce"), ("directory", "meta"), ("new-order", "authorizations"), ("new-order", "finalize"),
            ("new-order", "status"), ("authz", "identifier"), ("authz", "challenges"), ("authz", "status"),
            ("finalize", "certificate"),
        ):  # fmt: skip
            for value in (5, [5], "http://plain.example/", [{}], True):
                self.client = self.directory.client()
                self.directory.altered = {resource: _with(member, value)}
                error = self.refused(self.order("a.example"))
                self.assertTrue(error.text, (resource, member, value))

    def test_missing_location_of_an_account_or_order(self) -> None:
        """Without it nothing can be asked for later."""
        for resource in ("new-account", "new-order"):
            for where in ({}, {"Location": "http://plain.example/"}, {"Location": "https://a b"}):
                self.client = self.directory.client()
                self.directory.altered = {resource: _moved(where)}
                self.assertIn("has no Location", self.refused(self.order("a.example")).text)

    def test_answers_without_nonce_or_with_a_malformed_one(self) -> None:
        """RFC 8555, 6.5.1: such a nonce must be ignored."""
        for nonce in ("", "a b", "ä", "x" * 5000):
            self.client = self.directory.client()
            self.directory.altered = {"new-nonce": _with_nonce(nonce)}
            self.assertIn("has no nonce", self.refused(self.order("a.example")).text)

    def test_errors_that_are_no_problem_documents(self) -> None:
        """As those of a proxy in between."""
        for body in (
            b"<html>",
            b"[]",
            b'{"type": 5, "detail": [], "subproblems": 7}',
            b'{"subproblems": [5, {}]}',
        ):
            self.directory.faults["new-order"] = [answer(403, body)]
            self.assertEqual(
                self.refused(self.order("a.example")).text, "order for a.example: answered with HTTP 403"
            )

    def test_a_redirect_of_a_signed_request_is_an_error(self) -> None:
        """Its signature is for the URL that it was sent to."""
        self.directory.faults["new-order"] = [answer(307, b"", Location="https://other.test/")]
        self.assertIn("answered with HTTP 307", self.refused(self.order("a.example")).text)


def _with(member: str, value: object):
    def alter(made):
        return made._replace(body=json.dumps({**json.loads(made.body), member: value}).encode())

    return alter


def _moved(where):
    def alter(made):
        kept = {name: value for name, value in made.headers.items() if name != "location"}
        return made._replace(headers=type(made.headers)({**kept, **where}))

    return alter


def _with_nonce(nonce):
    return lambda made: made._replace(headers=type(made.headers)({"Replay-Nonce": nonce}))
