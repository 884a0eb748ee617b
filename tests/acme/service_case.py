"""What tests of automatic certificates have: a service in memory, with a directory that is told what to issue."""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.acme.service import AcmeService
from smartproxy.acme.storage import issued_plan
from smartproxy.flow.threads import call_here
from smartproxy.metrics.counters import Counters
from smartproxy.model.plan import AcmePlan, CertificatePlan, ProxyPlan
from smartproxy.tls.certificate import Certificate
from smartproxy.tls.store import CertificateStore
from tests.tls import talk
from tests.tls.made import NOW, Authority

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smartproxy.acme.events import CertificateEvent
    from smartproxy.acme.store_lock import FailedOrder, OrderAttempts

CA = Authority()
URL = "https://acme.example/dir"
#: When a certificate that begins now begins: there are whole seconds in it.
BEGAN = float(int(NOW.timestamp()))


def entry(*names: str, temporary: bool = False) -> CertificatePlan:
    return CertificatePlan("acme", names=names, automatic=True, self_signed=temporary)


class Issuer:
    """Stands for a directory: each order waits until the test decides what comes of it."""

    def __init__(self, plan: AcmePlan) -> None:
        self.plan = plan
        self.orders: list[tuple[tuple[str, ...], Deferred[Any]]] = []
        self.asked = 0
        self.cancelled = 0
        self.cancels = True
        self.good: list[Any] = []
        self.attempts: list[OrderAttempts] = []
        self.advice = self

    def obtain(
        self, names: Sequence[str], is_good: Any, _replaces: str | None, attempts: OrderAttempts
    ) -> Deferred[Certificate | None]:
        self.attempts.append(attempts)
        order: Deferred[Certificate | None] = Deferred(self._cancel)
        self.orders.append((tuple(names), order))
        self.good.append(is_good)
        return order if self.cancels else Deferred.fromCoroutine(_to_its_end(order))

    def _cancel(self, _order: object) -> None:
        self.cancelled += 1

    def ask(self, managed: Any, _certificate: object) -> None:
        """The directory has no renewal information."""
        self.asked += 1
        managed.renewal_info_due = float("inf")

    def stop(self) -> None:
        """No question about renewals waits."""

    @property
    def failed_proofs(self) -> list[int]:
        """Of each order, how many proofs had failed before."""
        return [attempts.failed_proofs for attempts in self.attempts]

    @property
    def waiting(self) -> list[tuple[str, ...]]:
        return [names for names, order in self.orders if not order.called]

    def answer(self, answer: Certificate | FailedOrder | BaseException | None) -> None:
        """Answer the oldest order that waits."""
        order = next(order for _, order in self.orders if not order.called)
        if isinstance(answer, BaseException):
            order.errback(answer)
        else:
            order.callback(answer)


async def _to_its_end(order: Deferred[Certificate | None]) -> Certificate | None:
    """As an order that is cleaning up when it is cancelled."""
    while True:
        ended: Deferred[Certificate | None] = Deferred()
        order.addBoth(_pass_on, ended)
        with suppress(CancelledError):
            return await ended


def _pass_on(result: Any, ended: Deferred[Any]) -> Any:
    if not ended.called:
        ended.callback(result)
    return result


class ServiceTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.wall_set = 0.0
        self.store = CertificateStore()
        self.counters = Counters()
        self.path = Path(self.mktemp())
        self.issuers: list[Issuer] = []
        self.events: list[CertificateEvent] = []
        self.acme = self.service()
        self.addCleanup(self.acme.stop)

    def service(self) -> AcmeService:
        made = AcmeService(
            self.store, self.counters, self.clock, lambda: 0.0, self.wall, self.in_thread, self._make
        )
        self.store.issued = made.issued
        made.on_event.append(self.events.append)
        return made

    def _make(self, plan: AcmePlan, _storage: object, _answers: object) -> Any:
        self.issuers.append(Issuer(plan))
        return self.issuers[-1]

    def in_thread(self, call: Any) -> Deferred[Any]:
        return call_here(call)

    def wall(self) -> float:
        return BEGAN + self.clock.seconds() + self.wall_set

    @property
    def issuer(self) -> Issuer:
        return self.issuers[-1]

    def apply(self, *entries: CertificatePlan, directory: str = URL, **terms: Any) -> None:
        acme = AcmePlan(directory, str(self.path), **terms)
        routes = [talk.route(one, name=f"web{number}") for number, one in enumerate(entries)]
        plan = ProxyPlan(tuple(routes), acme=acme)
        self.store.apply(self.store.prepare(plan))
        self.acme.apply(plan)

    def start(self, *entries: CertificatePlan, **terms: Any) -> None:
        self.apply(*entries, **terms)
        self.acme.start()

    def advance(self, seconds: float) -> None:
        """In steps, because a LoopingCall makes one call however much time has passed."""
        for _ in range(int(seconds)):
            self.clock.advance(1.0)
        self.clock.advance(seconds - int(seconds))

    def issued(self, *names: str, life: float = 60.0, number: int = 0) -> Certificate:
        """A certificate that begins now."""
        since = dt.timedelta(seconds=self.clock.seconds())
        leaf = CA.leaf(*names, start=since, end=since + dt.timedelta(seconds=life), number=number)
        return Certificate(issued_plan(leaf.pem, leaf.key_pem))

    def shown(self, one: CertificatePlan) -> Certificate | None:
        return self.store.shown_for(one)

    def status(self, one: CertificatePlan) -> Any:
        return self.acme.status(one)
