"""Pending challenges that the proxy itself answers."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.acme.answers import ChallengeAnswers
from smartproxy.acme.interfaces import Challenge
from smartproxy.acme.storage import AcmeStorage
from smartproxy.flow.threads import call_here
from smartproxy.model.plan import ChallengeType
from smartproxy.tls.challenge import challenge_certificate

TLS = ChallengeType.TLS_ALPN_01
FIRST = Challenge(TLS, "a.example", "first", "first.key")
SECOND = Challenge(TLS, "a.example", "second", "second.key")


class TlsAnswerTests(SynchronousTestCase):
    """Two certificates may have a name in common, and their orders run at the same time."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.answers = self.of_process()

    def of_process(self) -> ChallengeAnswers:
        answers = ChallengeAnswers(call_here)
        answers.storage = AcmeStorage(str(self.path), "https://acme.example/dir")
        answers.storage.prepare()
        return answers

    def present(self, challenge: Challenge) -> Deferred[None]:
        return Deferred.fromCoroutine(self.answers.present(challenge))

    def clean_up(self, challenge: Challenge) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.answers.cleanup(challenge)))

    def digests(self) -> list[bytes | None]:
        """What this process shows, and another one on the store."""
        shown = [one.tls_answer("a.example") for one in (self.answers, self.of_process())]
        return [None if one is None else one.digest for one in shown]

    def test_second_one_for_a_name_waits_for_the_first(self) -> None:
        """A name is shown with one certificate: with the second one's the first order would fail."""
        self.successResultOf(self.present(FIRST))
        second, third = self.present(SECOND), self.present(SECOND)
        self.assertNoResult(second)
        self.assertEqual(self.digests(), [FIRST.digest] * 2)
        self.clean_up(FIRST)
        self.successResultOf(second)
        self.successResultOf(third)
        self.assertEqual(self.digests(), [SECOND.digest] * 2)
        self.clean_up(SECOND)
        self.clean_up(SECOND)
        self.assertEqual(self.digests(), [None] * 2)

    def test_one_that_is_cancelled_while_it_waits_removes_nothing(self) -> None:
        self.successResultOf(self.present(FIRST))
        second = self.present(SECOND)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.clean_up(SECOND)
        self.assertEqual(self.digests(), [FIRST.digest] * 2)
        self.clean_up(FIRST)
        self.assertEqual(self.digests(), [None] * 2)

    def test_other_names_do_not_wait(self) -> None:
        self.successResultOf(self.present(FIRST))
        self.successResultOf(self.present(SECOND._replace(identifier="b.example")))

    def test_same_certificate_is_shown_to_all(self) -> None:
        """Anybody can connect as an authority does: a new key for each would evict the contexts of others."""
        self.successResultOf(self.present(FIRST))
        answer = self.answers.tls_answer("a.example")
        assert answer is not None
        self.assertIs(challenge_certificate(answer), challenge_certificate(answer))
