"""An order that is cancelled at each of its waits, and what it leaves."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, execute

from smartproxy.acme.directory_in_use import DirectoryInUse
from smartproxy.acme.service import AcmeService
from smartproxy.acme.storage import AcmeStorage
from smartproxy.metrics.counters import Counters
from smartproxy.model.plan import AcmePlan, ChallengeType, ProxyPlan
from tests.acme.directory import BASE
from tests.acme.service_case import entry
from tests.acme.test_whole import WholeTestCase
from tests.tls import talk

if TYPE_CHECKING:
    from collections.abc import Callable

URL = f"{BASE}directory"
NAMES = ("a.example", "b.example")


class CancelTests(WholeTestCase):
    """Each call of a thread and each request waits for the test, which cancels the order before one of them ends."""

    kind = ChallengeType.HTTP_01

    def setUp(self) -> None:
        super().setUp()
        self.begin_again()

    def begin_again(self) -> None:
        """A service that has never ordered."""
        self.in_force = talk.InForce()
        self.waits: deque[Callable[[], None]] = deque()
        self.path = self.path.with_name(f"{self.path.name}x")
        self.acme = AcmeService(
            self.in_force.store, Counters(), self.clock, lambda: 0.5, self.wall, self.in_thread, self._make
        )
        self.route = talk.route(entry(*NAMES))
        acme = AcmePlan(URL, str(self.path), challenges=(self.kind,))
        self.plan = ProxyPlan((self.route,), acme=acme)

    def _make(self, plan: AcmePlan, storage: Any, answers: Any) -> DirectoryInUse:
        def send(*asked: Any) -> Any:
            return self.later(lambda: self.directory(*asked))

        requests: Any = send
        return DirectoryInUse(
            plan, storage, answers, requests, None, self.clock, self.wall, lambda: 0.5, self.in_thread
        )

    def in_thread(self, call: Any) -> Deferred[Any]:
        return self.later(lambda: execute(call))

    def later(self, call: Callable[[], Deferred[Any]]) -> Deferred[Any]:
        """What has begun has its effect, also when nobody waits for it any more."""
        result: Deferred[Any] = Deferred()
        self.waits.append(lambda: call().chainDeferred(result))
        return result

    def step(self) -> None:
        """End the first wait; where there is none, let time pass."""
        if self.waits:
            self.waits.popleft()()
        else:
            self.clock.advance(0.25)

    def is_issued(self) -> bool:
        managed = self.acme.find(NAMES)
        return managed is not None and managed.certificate is not None

    def test_each_wait(self) -> None:
        for number in range(1000):
            self.begin_again()
            self.start()
            for _ in range(number):
                self.step()
            if self.is_issued():
                break
            self.acme.stop()
            self.check_nothing_is_left(number)
            self.acme.start()
            for _ in range(500):
                self.step()
            self.assertTrue(self.is_issued(), number)
            self.acme.stop()
        self.assertGreater(number, 20)

    def check_nothing_is_left(self, number: int) -> None:
        for _ in range(50):
            while self.waits:
                self.step()
            self.clock.advance(0.25)
        answers = self.acme.answers
        self.assertEqual((answers._http, answers._tls, answers._turns), ({}, {}, {}), number)
        self.assertEqual(list(self.path.glob("challenges/*/*")), [], number)
        self.assertEqual(self.clock.getDelayedCalls(), [], number)
        storage = AcmeStorage(str(self.path), URL)
        storage.prepare()
        locks = storage.lock(NAMES), storage.lock_account()
        self.assertNotIn(None, locks, number)
        for lock in locks:
            if lock is not None:
                lock.release()


class TlsCancelTests(CancelTests):
    kind = ChallengeType.TLS_ALPN_01
