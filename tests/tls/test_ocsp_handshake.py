"""OCSP in handshakes: a client that asks gets the bytes of the response, and no other client gets any."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from OpenSSL import SSL
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.metrics.counters import Counters
from smartproxy.tls.ocsp.staples import Staples
from smartproxy.tls.ocsp.stapling import SWEEP_INTERVAL, Stapling
from smartproxy.tls.server_contexts import ServerContextCache
from tests.tls import talk
from tests.tls.made import DAY, Authority, Leaf
from tests.tls.responders import NOW, REVOKED, URL, Asked, Responder

if TYPE_CHECKING:
    from smartproxy.model.plan import CertificatePlan, RoutePlan

CA = Authority()
OURS = Responder(CA)
LEAF = CA.leaf("a.example", ocsp=URL)
VERSIONS = (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION)


class HandshakeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.asked = Asked()
        self.in_force = talk.InForce()
        staples = Staples(lambda: NOW.timestamp() + self.clock.seconds())
        self.stapling = Stapling(
            staples, self.in_force.store, self.clock, Counters(), self.asked, lambda: 0.0
        )
        self.in_force.cache = ServerContextCache(staples.source)
        self.addCleanup(self.stapling.stop)

    def show(self, leaf: Leaf = LEAF, **tls: Any) -> None:
        self.plan: CertificatePlan = leaf.plan()
        self.route: RoutePlan = talk.route(self.plan)
        plan = talk.proxy(self.route, **tls)
        self.in_force.reload(plan)
        self.stapling.configure(plan.tls)
        self.stapling.start()

    def seen(self, most: int = 0, *, asks: bool = True) -> bytes | None:
        """The response that a client receives; ``None`` if its callback was not called."""
        told: list[bytes] = []
        context = talk.client_context(CA, most=most)
        context.set_ocsp_client_callback(lambda _connection, data, _: told.append(data) or True)
        connecting = talk.client(context=context)
        if asks:
            connecting.request_ocsp()
        self.accepted = talk.connected(self.in_force.contexts, self.route, connecting)
        return told[0] if told else None

    def test_response_is_sent_only_to_clients_that_ask(self) -> None:
        self.show()
        der = OURS.answer(LEAF)
        self.asked.answer(der)
        for version in VERSIONS:
            self.assertEqual(self.seen(version), der)
            self.assertIsNone(self.seen(version, asks=False))

    def test_handshake_succeeds_without_a_response(self) -> None:
        """Before there is one, without a responder, and if the certificate is revoked."""
        self.show()
        for version in VERSIONS:
            self.assertFalse(self.seen(version))
        self.asked.answer(OURS.answer(LEAF, REVOKED))
        self.assertFalse(self.seen())
        self.show(CA.leaf("a.example"))
        self.assertFalse(self.seen())

    def test_later_response_is_sent_on_an_existing_context(self) -> None:
        self.show()
        self.assertFalse(self.seen())
        before = self.accepted.get_context()
        self.asked.answer(OURS.answer(LEAF))
        self.assertTrue(self.seen())
        self.assertIs(self.accepted.get_context(), before)

    def test_context_has_a_callback_only_if_it_may_staple(
        self,
    ) -> None:
        made: list[Any] = []
        self.patch(SSL.Context, "set_ocsp_server_callback", lambda *given: made.append(given))
        self.show(CA.leaf("a.example"))
        self.seen(asks=False)
        self.show(ocsp_stapling=False)
        self.seen(asks=False)
        self.assertEqual(made, [])
        self.show()
        self.seen(asks=False)
        self.assertEqual(len(made), 1)

    def test_renewed_certificate_is_sent_without_former_response(self) -> None:
        self.show()
        self.asked.answer(OURS.answer(LEAF))
        renewed = CA.leaf("a.example", ocsp=URL, end=60 * DAY)
        self.in_force.store.show(self.in_force.store.changed({self.plan: renewed.plan()}))
        self.assertFalse(self.seen())
        self.clock.advance(SWEEP_INTERVAL)
        der = OURS.answer(renewed)
        self.asked.answer(der)
        self.assertEqual(self.seen(), der)

    def test_reload_without_change_keeps_response_and_context(self) -> None:
        self.show()
        self.asked.answer(OURS.answer(LEAF))
        self.assertTrue(self.seen())
        before = self.accepted.get_context()
        self.show()
        self.assertTrue(self.seen())
        self.assertIs(self.accepted.get_context(), before)

    def test_reload_enables_and_disables_stapling(self) -> None:
        self.show(ocsp_stapling=False)
        self.assertFalse(self.seen())
        self.show()
        self.asked.answer(OURS.answer(LEAF))
        self.assertTrue(self.seen())
        self.show(ocsp_stapling=False)
        self.assertFalse(self.seen())
