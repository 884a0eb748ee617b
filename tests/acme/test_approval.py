"""Asking the operator's program whether a name may be ordered."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.acme import approval
from smartproxy.acme.approval import TIMEOUT, Approve
from smartproxy.errors import AcmeError
from smartproxy.model.plan import AcmePlan, OnDemandPlan
from tests.acme.service_case import URL


class ApprovalTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.approve = Approve(self.reactor)
        self.lines: list[str] = []
        globalLogPublisher.addObserver(self._observe)
        self.addCleanup(globalLogPublisher.removeObserver, self._observe)

    def _observe(self, event: Any) -> None:
        if event.get("log_namespace") == approval.__name__:
            self.lines.append(event["log_format"])

    def asked(self, ask: Any, name: str = "a.example") -> Deferred[bool]:
        plan = AcmePlan(URL, "store", on_demand=OnDemandPlan(ask))
        return Deferred.fromCoroutine(self.approve(plan, name))

    def test_callable_decides(self) -> None:
        self.assertTrue(self.successResultOf(self.asked(lambda name: name == "a.example")))
        self.assertFalse(self.successResultOf(self.asked(lambda name: None)))

    def test_one_that_cannot_be_asked_has_not_refused(self) -> None:
        """A certificate in use must not be dropped because a program is down."""
        failure = self.failureResultOf(self.asked(_broken), AcmeError)
        self.assertEqual(failure.value.text, "acme.onDemand.ask cannot be asked: it is down")
        silent = self.asked(lambda _: Deferred())
        self.reactor.advance(TIMEOUT)
        self.assertIn("no answer within 10 s", self.failureResultOf(silent, AcmeError).value.text)

    def test_program_that_is_down_does_not_fill_the_log(self) -> None:
        """Anybody can ask for any name, a thousand times a second."""
        for number in range(1000):
            self.failureResultOf(self.asked(_broken, f"{number}.example"), AcmeError)
        self.assertEqual(len(self.lines), 1)
        self.reactor.advance(60)
        self.failureResultOf(self.asked(_broken), AcmeError)
        self.assertEqual(len(self.lines), 2)

    def test_names_of_the_program_are_resolved_by_one_resolver(self) -> None:
        """Each has threads of its own, so that one for each question would have no bound."""
        made: list[object] = []
        self.patch(approval, "with_own_names", lambda reactor, *_: made.append(1) or reactor)
        for _ in range(3):
            self.asked("http://127.0.0.1:9/ask").addErrback(lambda _: None)
        self.assertEqual(len(made), 1)
        self.reactor.advance(TIMEOUT)


def _broken(_name: str) -> bool:
    raise ValueError("it is down")
