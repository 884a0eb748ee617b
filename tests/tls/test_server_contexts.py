"""What a client is shown and may negotiate, and which contexts outlive a reload: real handshakes, in memory."""

from __future__ import annotations

import gc
import weakref

from OpenSSL import SSL
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import HandshakeRefused
from smartproxy.model.outcome import RejectReason
from smartproxy.model.plan import CertificatePlan, ClientAuthPlan, RoutePlan
from smartproxy.tls import server_contexts
from smartproxy.tls.server_contexts import VERIFIED_FOR, ServerContextCache, ServerContexts
from smartproxy.tls.store import ConfiguredCertificates
from smartproxy.wire.tls_alert import Alert
from tests.tls import talk
from tests.tls.made import DAY, Authority

CA = Authority()
EXACT = CA.leaf("a.example").plan("a.pem")
RSA = CA.leaf("a.example", kind="rsa").plan("rsa.pem")


class KeyTypeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.route = talk.route(RSA, EXACT)
        self.contexts = talk.contexts(talk.proxy(self.route))

    def key_type(self, **options: object) -> str:
        connecting = talk.client(CA, **options)
        talk.connected(self.contexts, self.route, connecting)
        return type(connecting.get_peer_certificate(as_cryptography=True).public_key()).__name__

    def test_client_that_can_verify_both_is_shown_ecdsa(self) -> None:
        self.assertEqual(self.key_type(), "ECPublicKey")
        self.assertEqual(self.key_type(most=SSL.TLS1_2_VERSION), "ECPublicKey")

    def test_client_with_rsa_suites_only_is_shown_rsa(self) -> None:
        self.assertEqual(
            self.key_type(most=SSL.TLS1_2_VERSION, ciphers=b"ECDHE-RSA-AES128-GCM-SHA256"), "RSAPublicKey"
        )


class NegotiationTests(SynchronousTestCase):
    def test_unknown_name_is_refused_with_unrecognized_name(self) -> None:
        to = talk.route(EXACT)
        contexts = talk.contexts(talk.proxy(to))
        refused = self.assertRaises(HandshakeRefused, contexts.for_hello, to, talk.hello("other.test"))
        self.assertEqual(refused.alert, Alert.UNRECOGNIZED_NAME)
        self.assertEqual(refused.reason, RejectReason.TLS_ERROR)
        self.assertEqual(refused.detail, "no certificate for other.test")

    def test_tls_1_2_and_1_3_are_accepted(self) -> None:
        to = talk.route(EXACT)
        contexts = talk.contexts(talk.proxy(to))
        for most, version in ((0, "TLSv1.3"), (SSL.TLS1_2_VERSION, "TLSv1.2")):
            accepting = talk.connected(contexts, to, talk.client(CA, most=most))
            self.assertEqual(accepting.get_protocol_version_name(), version)

    def test_version_below_the_minimum_is_refused(self) -> None:
        to = talk.route(EXACT, min_version="1.3")
        contexts = talk.contexts(talk.proxy(to))
        with self.assertRaises(SSL.Error):
            talk.connected(contexts, to, talk.client(CA, most=SSL.TLS1_2_VERSION))

    def test_alpn_is_our_first_protocol_that_the_client_offers(self) -> None:
        to = talk.route(EXACT, alpn=("h2", "http/1.1"))
        contexts = talk.contexts(talk.proxy(to))
        for offered, chosen in (
            ((b"http/1.1", b"h2"), b"h2"),
            ((b"spdy/3", b"http/1.1"), b"http/1.1"),
            ((b"spdy/3",), b""),
            ((), b""),
        ):
            connecting = talk.client(CA, alpn=offered)
            accepting = talk.connected(contexts, to, connecting)
            self.assertEqual(accepting.get_alpn_proto_negotiated(), chosen, offered)
            self.assertEqual(connecting.get_alpn_proto_negotiated(), chosen, offered)

    def test_alpn_offered_to_a_route_without_is_ignored(self) -> None:
        """curl and browsers always offer it; a fatal alert would shut them out."""
        to = talk.route(EXACT)
        connecting = talk.client(CA, alpn=(b"h2", b"http/1.1"))
        talk.connected(talk.contexts(talk.proxy(to)), to, connecting)
        self.assertEqual(connecting.get_alpn_proto_negotiated(), b"")

    def test_intermediate_certificates_are_sent(self) -> None:
        middle = Authority("middle", above=CA)
        to = talk.route(middle.leaf("a.example").plan())
        connecting = talk.client(CA)
        talk.connected(talk.contexts(talk.proxy(to)), to, connecting)
        self.assertEqual(len(connecting.get_peer_cert_chain(as_cryptography=True)), 2)

    def test_own_cipher_order_decides_only_where_configured(self) -> None:
        first, second = "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256"
        for own_order, chosen in ((True, first), (False, second)):
            to = talk.route(EXACT, ciphers=f"{first}:{second}", own_order=own_order)
            connecting = talk.client(CA, most=SSL.TLS1_2_VERSION, ciphers=f"{second}:{first}".encode())
            accepting = talk.connected(talk.contexts(talk.proxy(to)), to, connecting)
            self.assertEqual(accepting.get_cipher_name(), chosen)


class ResumptionTests(SynchronousTestCase):
    def resumes(self, contexts: ServerContexts, first: RoutePlan, last: RoutePlan, most: int = 0) -> bool:
        """Whether a session of a connection to ``first`` is resumed by one to ``last``."""
        session, context = self.session(contexts, first, most)
        return self.resumed(contexts, last, session, context)

    def session(
        self, contexts: ServerContexts, to: RoutePlan, most: int = 0
    ) -> tuple[SSL.Session, SSL.Context]:
        context = talk.client_context(CA, most=most, certificate=CA.leaf("robot", client=True))
        connecting = talk.client(context=context)
        talk.connected(contexts, to, connecting)
        connecting.shutdown()
        return connecting.get_session(), context

    def resumed(
        self, contexts: ServerContexts, to: RoutePlan, session: SSL.Session, context: SSL.Context
    ) -> bool:
        connecting = talk.client(context=context)
        connecting.set_session(session)
        return talk.resumed(talk.connected(contexts, to, connecting))

    def test_session_is_resumed_by_the_same_route(self) -> None:
        to = talk.route(EXACT)
        contexts = talk.contexts(talk.proxy(to))
        self.assertTrue(self.resumes(contexts, to, to))
        self.assertTrue(self.resumes(contexts, to, to, most=SSL.TLS1_2_VERSION))

    def test_nothing_of_a_client_without_tickets_is_kept(self) -> None:
        """OpenSSL would keep its session with its chain of up to 100 KiB, for two hours, in 20,480 places."""
        to = talk.route(EXACT, client_auth=ClientAuthPlan(required=True, ca=CA.pem))
        contexts = talk.contexts(talk.proxy(to))
        context = talk.client_context(CA, most=SSL.TLS1_2_VERSION, certificate=CA.leaf("robot", client=True))
        context.set_options(SSL.OP_NO_TICKET)
        connecting = talk.client(context=context)
        accepting = talk.connected(contexts, to, connecting)
        connecting.shutdown()
        accepting.shutdown()
        session = connecting.get_session()
        assert session is not None
        self.assertFalse(self.resumed(contexts, to, session, context))

    def test_session_is_resumed_with_client_certificates(self) -> None:
        to = talk.route(EXACT, client_auth=ClientAuthPlan(required=True, ca=CA.pem))
        self.assertTrue(self.resumes(talk.contexts(talk.proxy(to)), to, to))

    def test_session_is_not_resumed_under_other_client_auth(self) -> None:
        """Otherwise a session would carry over what only the first route has verified (CVE-2025-23419)."""
        plain, asked = talk.route(EXACT), ClientAuthPlan(required=True, ca=CA.pem)
        strict = talk.route(EXACT, name="strict", client_auth=asked)
        other = ClientAuthPlan(required=True, ca=CA.pem, match=("CN:robot",))
        stricter = talk.route(EXACT, name="stricter", client_auth=other)
        contexts = talk.contexts(talk.proxy(plain, strict, stricter))
        for most in (0, SSL.TLS1_2_VERSION):
            self.assertFalse(self.resumes(contexts, plain, strict, most))
            self.assertFalse(self.resumes(contexts, strict, stricter, most))
            self.assertFalse(self.resumes(contexts, strict, plain, most))

    def at(self, to: RoutePlan) -> tuple[Clock, ServerContexts]:
        """A clock, and the contexts of a configuration with one route that go by it."""
        clock, plan = Clock(), talk.proxy(to)
        cache = ServerContextCache(seconds=clock.seconds)
        return clock, ServerContexts(plan, ConfiguredCertificates(plan), cache)

    def test_verified_client_makes_a_full_handshake_again_in_time(self) -> None:
        """With TLS 1.3 each resumption extends a session, so that of an expired certificate would never end."""
        to = talk.route(EXACT, client_auth=ClientAuthPlan(required=True, ca=CA.pem))
        for most in (0, SSL.TLS1_2_VERSION):
            clock, contexts = self.at(to)
            session, context = self.session(contexts, to, most)
            clock.advance(VERIFIED_FOR - 1)
            self.assertTrue(self.resumed(contexts, to, session, context))
            clock.advance(1)
            self.assertFalse(self.resumed(contexts, to, session, context))
            self.assertTrue(self.resumes(contexts, to, to, most))

    def test_client_of_a_chosen_certificate_is_verified_again_likewise(self) -> None:
        auth = ClientAuthPlan(required=False, ca=CA.pem)
        clock, contexts = self.at(to := talk.route(certificate_for=lambda _: EXACT, client_auth=auth))
        before = self.successResultOf(contexts.for_hello(to, talk.hello()))
        clock.advance(VERIFIED_FOR - 1)
        self.assertIs(self.successResultOf(contexts.for_hello(to, talk.hello())), before)
        clock.advance(1)
        self.assertIsNot(self.successResultOf(contexts.for_hello(to, talk.hello())), before)

    def test_session_of_a_client_that_is_not_verified_is_resumed_at_any_time(self) -> None:
        for auth in (None, ClientAuthPlan(required=True)):
            to = talk.route(EXACT, client_auth=auth)
            clock, contexts = self.at(to)
            session, context = self.session(contexts, to)
            clock.advance(24 * 3600)
            self.assertTrue(self.resumed(contexts, to, session, context))

    def test_ticket_is_resumed_after_a_reload_of_another_route(self) -> None:
        to = talk.route(EXACT)
        in_force = talk.InForce(talk.proxy(to, talk.route(RSA, name="other")))
        for most in (0, SSL.TLS1_2_VERSION):
            session, context = self.session(in_force.contexts, to, most)
            same = talk.route(EXACT, handshake_timeout=3.0)
            in_force.reload(talk.proxy(same, talk.route(RSA, name="other", min_version="1.3")))
            self.assertTrue(self.resumed(in_force.contexts, same, session, context))

    def test_ticket_of_a_route_that_a_reload_changed_is_not_resumed(self) -> None:
        to, changed = talk.route(EXACT), talk.route(EXACT, alpn=("h2",))
        in_force = talk.InForce(talk.proxy(to))
        session, context = self.session(in_force.contexts, to)
        in_force.reload(talk.proxy(changed))
        self.assertFalse(self.resumed(in_force.contexts, changed, session, context))

    def test_ticket_for_a_chosen_certificate_survives_a_reload(self) -> None:
        """An embedder's certificates are known only when they are asked for, and outlive a reload all the same."""
        to = talk.route(certificate_for=lambda _: EXACT)
        in_force = talk.InForce(talk.proxy(to))
        before = self.successResultOf(in_force.contexts.for_hello(to, talk.hello()))
        in_force.reload(talk.proxy(to, talk.route(RSA, name="more")))
        after = self.successResultOf(in_force.contexts.for_hello(to, talk.hello()))
        self.assertIs(after, before)


class RetentionTests(SynchronousTestCase):
    """Contexts are freed when the configuration in force has no use for them."""

    def setUp(self) -> None:
        self.kept, self.removed = talk.route(EXACT), talk.route(EXACT, name="removed", alpn=("h2",))
        self.in_force = talk.InForce(talk.proxy(self.kept, self.removed))

    def context(self, to: RoutePlan) -> weakref.ref[SSL.Context]:
        context = self.in_force.contexts.for_hello(to, talk.hello())
        if isinstance(context, Deferred):
            context = self.successResultOf(context)
        return weakref.ref(context)

    def freed(self, context: weakref.ref[SSL.Context]) -> bool:
        gc.collect()
        return context() is None

    def test_context_of_a_removed_route_is_freed_by_the_reload(self) -> None:
        kept, removed = self.context(self.kept), self.context(self.removed)
        self.in_force.reload(talk.proxy(self.kept))
        self.assertEqual((self.freed(kept), self.freed(removed)), (False, True))

    def test_context_of_a_former_certificate_is_freed_on_renewal(self) -> None:
        """A connection begun before goes on: it holds its context itself."""
        early = talk.client(CA)
        accepted = talk.connected(self.in_force.contexts, self.kept, early)
        former = self.context(self.kept)
        newer = CA.leaf("a.example", end=90 * DAY)
        self.in_force.store.show(self.in_force.store.changed({EXACT: newer.plan()}))
        late = talk.client(CA)
        talk.connected(self.in_force.contexts, self.kept, late)
        self.assertEqual(late.get_peer_certificate(as_cryptography=True), newer.certificate)
        accepted.send(b"still here")
        talk.carry(accepted, early)
        self.assertEqual(early.recv(10), b"still here")
        self.assertFalse(self.freed(former))
        del accepted
        self.assertTrue(self.freed(former))

    def test_context_made_for_a_former_configuration_is_freed_too(self) -> None:
        """A connection accepted before a reload may send its ClientHello after it."""
        former = self.in_force.contexts
        self.in_force.reload(talk.proxy(self.kept))
        late = weakref.ref(former.for_hello(self.removed, talk.hello()))
        self.assertFalse(self.freed(late))
        del former
        self.in_force.reload(talk.proxy(self.kept))
        self.assertTrue(self.freed(late))

    def test_context_of_a_chosen_certificate_goes_with_its_route(self) -> None:
        to = talk.route(name="chosen", certificate_for=lambda _: RSA, alpn=("h2",))
        self.in_force.reload(talk.proxy(self.kept, to))
        chosen = self.context(to)
        self.assertFalse(self.freed(chosen))
        self.in_force.reload(talk.proxy(self.kept))
        self.assertTrue(self.freed(chosen))

    def test_least_recently_used_chosen_context_is_evicted(self) -> None:
        """An embedder may give a new certificate for every name, and clients invent names."""
        self.patch(server_contexts, "_MAX_CHOSEN", 2)
        plans = {name: CA.leaf(name).plan() for name in ("a.example", "b.example", "c.example")}
        to = talk.route(certificate_for=plans.get)
        self.in_force.reload(talk.proxy(to))
        contexts = {}
        for name in ("a.example", "b.example", "a.example", "c.example"):
            made = self.in_force.contexts.for_hello(to, talk.hello(name))
            contexts[name] = weakref.ref(self.successResultOf(made))
        del made
        self.assertEqual([self.freed(contexts[name]) for name in plans], [False, True, False])


class EmbedderTests(SynchronousTestCase):
    def test_callable_gets_the_name_and_may_return_a_deferred(self) -> None:
        asked: list[str | None] = []
        later: Deferred[CertificatePlan] = Deferred()

        def choose(name: str | None) -> Deferred[CertificatePlan]:
            asked.append(name)
            return later if len(asked) == 1 else succeed(EXACT)

        to = talk.route(certificate_for=choose)
        contexts = talk.contexts(talk.proxy(to))
        waiting = contexts.for_hello(to, talk.hello("a.example"))
        self.assertNoResult(waiting)
        later.callback(EXACT)
        context = self.successResultOf(waiting)
        self.assertEqual(asked, ["a.example"])
        self.assertIs(self.successResultOf(contexts.for_hello(to, talk.hello("a.example"))), context)

    def test_coroutine_function_and_plain_function_are_accepted(self) -> None:
        async def choose(_name: str | None) -> CertificatePlan:
            return await succeed(EXACT)

        for choice in (choose, lambda _: EXACT):
            to = talk.route(certificate_for=choice)
            context = self.successResultOf(talk.contexts(talk.proxy(to)).for_hello(to, talk.hello()))
            self.assertIsInstance(context, SSL.Context)

    def test_none_refuses_the_client(self) -> None:
        to = talk.route(certificate_for=lambda _: None)
        self.failureResultOf(talk.contexts(talk.proxy(to)).for_hello(to, talk.hello()), HandshakeRefused)

    def test_something_else_than_a_certificate_is_named(self) -> None:
        to = talk.route(certificate_for=lambda _: "Auto")
        failed = self.failureResultOf(talk.contexts(talk.proxy(to)).for_hello(to, talk.hello()), TypeError)
        self.assertIn("returned 'Auto': it must be a certificate, \"auto\" or None", str(failed.value))

    def test_exception_of_the_callable_is_passed_on(self) -> None:
        to = talk.route(certificate_for=lambda _: 1 / 0)
        self.failureResultOf(talk.contexts(talk.proxy(to)).for_hello(to, talk.hello()), ZeroDivisionError)
