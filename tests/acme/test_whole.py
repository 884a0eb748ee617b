"""The whole of it in memory: service, store, account, client, and a directory that checks what it is sent."""

from __future__ import annotations

import datetime as dt
import gc
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.acme.directory_in_use import DirectoryInUse
from smartproxy.acme.service import AcmeService
from smartproxy.flow.threads import call_here
from smartproxy.metrics.counters import Counters
from smartproxy.model.plan import AcmePlan, ProxyPlan
from tests.acme.directory import BASE, MemoryDirectory
from tests.acme.service_case import entry
from tests.tls import talk
from tests.tls.made import NOW, PEM, Pair, builder, named

if TYPE_CHECKING:
    from smartproxy.acme.events import CertificateEvent

#: Seconds. What is issued is valid from a tenth of it before the test began, whatever its clock says.
LIFETIME = 600


class ShortLived(MemoryDirectory):
    """Issues certificates of :data:`LIFETIME`."""

    def _signed(self, request: x509.CertificateSigningRequest, alternatives: Any) -> bytes:
        lives = dt.timedelta(seconds=LIFETIME)
        made = builder(
            named("memory"),
            self.authority.subject,
            Pair(request.public_key()),
            start=-lives / 10,
            end=lives * 9 / 10,
        )
        made = made.add_extension(alternatives, critical=False)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.authority.key.public_key())
        made = made.add_extension(authority, critical=False)
        return made.sign(self.authority.key, hashes.SHA256()).public_bytes(PEM)


class WholeTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = ShortLived()
        self.clock = self.directory.clock
        self.in_force = talk.InForce()
        self.path = Path(self.mktemp())
        self.events: list[CertificateEvent] = []
        self.counters = Counters()
        self.acme = AcmeService(
            self.in_force.store, self.counters, self.clock, lambda: 0.5, self.wall, call_here, self._make
        )
        self.acme.on_event.append(self.events.append)
        self.route = talk.route(entry("a.example"))
        self.plan = ProxyPlan((self.route,), acme=AcmePlan(f"{BASE}directory", str(self.path)))

    def _make(self, plan: AcmePlan, storage: Any, answers: Any) -> DirectoryInUse:
        directory: Any = self.directory
        return DirectoryInUse(
            plan, storage, answers, directory, None, self.clock, self.wall, lambda: 0.5, call_here
        )

    def wall(self) -> float:
        return NOW.timestamp() + self.clock.seconds()

    def start(self) -> None:
        self.contexts = self.in_force.reload(self.plan)
        self.acme.apply(self.plan)
        self.acme.start()
        self.addCleanup(self.acme.stop)

    def advance(self, seconds: float) -> None:
        for _ in range(int(seconds * 2)):
            self.clock.advance(0.5)


class RenewalTests(WholeTestCase):
    def test_an_hour_of_renewals_leaves_nothing_behind(self) -> None:
        self.directory.bad_nonces = 3
        self.start()
        sizes = []
        for _ in range(12):
            self.advance(300)
            while any(managed.ordering is not None for managed in self.acme._managed.values()):
                self.advance(0.5)  # what an order in progress needs is not what is left behind
            self.assertIsNotNone(self.contexts.for_hello(self.route, talk.hello("a.example")))
            sizes.append(self.kept())
        kinds = [one.kind for one in self.events]
        self.assertEqual((kinds[0], set(kinds[1:])), ("issued", {"renewed"}))
        self.assertGreater(len(kinds), 30)
        self.assertEqual(sizes[-1][:-1], sizes[5][:-1])
        # Fewer may be left: events in Twisted's log buffer hold objects of former tests, and are dropped by later ones.
        self.assertLessEqual(sizes[-1][-1], sizes[5][-1])

    def kept(self) -> tuple[Any, ...]:
        """What there is: timers, contexts, files of the store, and objects of the package."""
        for recorded in (self.directory.asked, self.directory.payloads, self.directory.fetched):
            recorded.clear()
        self.directory.orders.clear()
        self.directory.authorizations.clear()
        self.directory.shown.clear()
        gc.collect()
        ours = sum(
            str(type(one).__module__).startswith("smartproxy.") and type(one).__name__ != "CertificateEvent"
            for one in gc.get_objects()
        )
        files = sorted(str(file.relative_to(self.path)) for file in self.path.rglob("*") if file.is_file())
        return len(self.clock.getDelayedCalls()), len(self.in_force.cache._contexts), files, ours

    def test_authority_that_wants_a_renewal_again_and_again_does_not_get_it(self) -> None:
        """A window in the past for each certificate would be an order each second."""
        self.directory.window = ("2023-11-20T00:00:00Z", "2023-11-21T00:00:00Z")
        self.start()
        self.advance(LIFETIME / 2)
        self.assertLessEqual(len(self.events), 7)

    def test_authority_may_want_it_earlier(self) -> None:
        """With three quarters of the lifetime left: it will revoke what it has issued."""
        at = NOW + dt.timedelta(seconds=90)
        window = [(at + dt.timedelta(seconds=more)).isoformat() for more in (0, 10)]
        self.directory.window = (window[0], window[1])
        self.start()
        self.advance(80)
        self.assertEqual([one.kind for one in self.events], ["issued"])
        self.advance(30)
        self.assertEqual([one.kind for one in self.events], ["issued", "renewed"])
        replaces = [asked.get("replaces") for name, asked in self.directory.payloads if name == "new-order"]
        self.assertEqual((replaces[0], bool(replaces[1])), (None, True))


class ChallengeTests(WholeTestCase):
    def test_another_store_leaves_no_challenge_in_the_former_one(self) -> None:
        """Its file would be answered by every process on that store."""
        self.directory.processing = 1000
        self.start()
        self.assertEqual(len(list(self.path.glob("challenges/*/*"))), 1)
        acme = AcmePlan(f"{BASE}directory", self.mktemp())
        self.acme.apply(ProxyPlan((self.route,), acme=acme))
        self.assertEqual(list(self.path.glob("challenges/*/*")), [])
