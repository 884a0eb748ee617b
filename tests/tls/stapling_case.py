"""A Stapling for tests, with its clock, responder, random numbers and log lines."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import OcspResponderUnavailable
from smartproxy.metrics.counters import Counters
from smartproxy.model.certificate_status import ShownStaple
from smartproxy.tls.certificate import Certificate
from smartproxy.tls.ocsp.staples import Staples
from smartproxy.tls.ocsp.stapling import SWEEP_INTERVAL, Stapling
from smartproxy.tls.store import CertificateStore
from tests.tls import talk
from tests.tls.made import Authority, Leaf
from tests.tls.responders import NOW, URL, Asked, Responder

CA = Authority()
OURS = Responder(CA)
LEAF = CA.leaf("a.example", ocsp=URL)
OTHER = CA.leaf("b.example", ocsp=URL)
EPOCH = NOW.timestamp()
DOWN = OcspResponderUnavailable("connection refused")


class StaplingCase(SynchronousTestCase):
    """One certificate with a responder unless a test gives others; random numbers are 0."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.slept = 0.0
        self.luck = 0.0
        self.asked = Asked()
        self.counters = Counters()
        self.store = CertificateStore()
        self.staples = Staples(lambda: EPOCH + self.clock.seconds() + self.slept)
        self.stapling = Stapling(
            self.staples, self.store, self.clock, self.counters, self.asked, lambda: self.luck
        )
        self.lines: list[tuple[str, str]] = []
        globalLogPublisher.addObserver(self._line)
        self.addCleanup(globalLogPublisher.removeObserver, self._line)

    def _line(self, event: dict[str, Any]) -> None:
        if event.get("log_namespace") == "smartproxy.tls.ocsp.stapling":
            self.lines.append((event["log_level"].name, event["log_format"].format(**event)))

    def follow(self, *leaves: Leaf, **tls: Any) -> None:
        self.plans = [leaf.plan(f"{number}.pem") for number, leaf in enumerate(leaves)]
        plan = talk.proxy(talk.route(*self.plans), **tls)
        self.store.apply(self.store.prepare(plan))
        self.stapling.configure(plan.tls)

    def begin(self, *leaves: Leaf, **tls: Any) -> None:
        self.follow(*(leaves or (LEAF,)), **tls)
        self.stapling.start()
        self.addCleanup(self.stapling.stop)

    def staple(self, leaf: Leaf = LEAF) -> bytes:
        source = self.staples.source(Certificate(leaf.plan()))
        assert source is not None
        return source()

    def status(self, leaf: Leaf = LEAF) -> ShownStaple:
        return self.stapling.status(Certificate(leaf.plan()))

    def asks_after(self, step: float = SWEEP_INTERVAL) -> float:
        """Seconds until the next request, in steps of ``step``."""
        before, began = len(self.asked.questions), self.clock.seconds()
        while len(self.asked.questions) == before:
            self.clock.advance(step)
            self.assertLess(self.clock.seconds() - began, 30 * 86400)
        return self.clock.seconds() - began

    def results(self) -> dict[str, int]:
        return {result: count for result, count in self.counters.ocsp_responses.items() if count}
