"""Which certificate a client is shown, and what it may negotiate: real handshakes, in memory."""

from __future__ import annotations

from time import perf_counter

from OpenSSL import SSL
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import HandshakeRefused
from smartproxy.model.outcome import RejectReason
from smartproxy.model.plan import CertificatePlan, ClientAuthPlan
from smartproxy.tls.contexts import ServerContexts
from smartproxy.wire.tls_alert import Alert
from tests.tls import talk
from tests.tls.made import DAY, Authority

CA = Authority()
EXACT = CA.leaf("a.example").plan("a.pem")
RSA = CA.leaf("a.example", kind="rsa").plan("rsa.pem")
WILD = CA.leaf("*.example", kind="p384").plan("wild.pem")


class ChoiceTests(SynchronousTestCase):
    def shown(self, name: str | None, *stored: CertificatePlan, default: str | None = None) -> str:
        """The source of what such a client is shown from a store."""
        to = talk.route()
        contexts = ServerContexts(talk.proxy(to, certificates=stored, default=default))
        found = contexts.certificate_for(to.tls, talk.hello(name))
        return "nothing" if found is None else found.plan.source

    def test_the_exact_name_goes_before_the_wildcard_wherever_it_stands(self) -> None:
        self.assertEqual(self.shown("a.example", WILD, EXACT), "a.pem")
        self.assertEqual(self.shown("b.example", WILD, EXACT), "wild.pem")

    def test_a_wildcard_stands_for_one_label(self) -> None:
        self.assertEqual(self.shown("c.b.example", WILD, EXACT), "nothing")
        self.assertEqual(self.shown("example", WILD, EXACT), "nothing")

    def test_a_name_that_no_certificate_carries_is_shown_the_default_if_there_is_one(self) -> None:
        self.assertEqual(self.shown("other.test", EXACT), "nothing")
        self.assertEqual(self.shown("other.test", WILD, EXACT, default="a.example"), "a.pem")
        self.assertEqual(self.shown("other.test", EXACT, WILD, default="*.example"), "wild.pem")

    def test_no_name_is_shown_the_default_of_a_store(self) -> None:
        self.assertEqual(self.shown(None, EXACT), "nothing")
        self.assertEqual(self.shown(None, EXACT, WILD, default="*.example"), "wild.pem")

    def test_no_name_is_shown_the_first_of_a_routes_own(self) -> None:
        other = CA.leaf("b.example").plan("b.pem")
        to = talk.route(other, EXACT)
        contexts = ServerContexts(talk.proxy(to, certificates=(EXACT,), default="a.example"))
        self.assertEqual(contexts.certificate_for(to.tls, talk.hello(None)).plan.source, "b.pem")

    def test_a_routes_own_go_before_the_store(self) -> None:
        mine = CA.leaf("a.example").plan("mine.pem")
        to = talk.route(mine)
        contexts = ServerContexts(talk.proxy(to, certificates=(EXACT,)))
        self.assertEqual(contexts.certificate_for(to.tls, talk.hello()).plan.source, "mine.pem")

    def test_of_two_for_a_name_the_one_that_is_good_for_longest_is_shown(self) -> None:
        longer = CA.leaf("a.example", end=60 * DAY).plan("longer.pem")
        self.assertEqual(self.shown("a.example", EXACT, longer), "longer.pem")
        self.assertEqual(self.shown("a.example", longer, EXACT), "longer.pem")

    def test_a_self_signed_one_serves_any_name(self) -> None:
        made = CertificatePlan("selfSigned", self_signed=True, names=("*.example",))
        self.assertEqual(self.shown("other.test", made, EXACT), "selfSigned")
        self.assertEqual(self.shown("a.example", made, EXACT), "a.pem")

    def test_none_is_refused_with_an_alert_that_says_so(self) -> None:
        to = talk.route(EXACT)
        contexts = ServerContexts(talk.proxy(to))
        refused = self.assertRaises(HandshakeRefused, contexts.for_hello, to, talk.hello("other.test"))
        self.assertEqual(refused.alert, Alert.UNRECOGNIZED_NAME)
        self.assertEqual(refused.reason, RejectReason.TLS_ERROR)
        self.assertEqual(refused.detail, "no certificate for other.test")

    def test_a_thousand_names_cost_what_ten_do(self) -> None:
        leaf = CA.leaf("one.example")

        def cost(many: int) -> float:
            stored = [CA.leaf(f"n{n}.example").plan(f"{n}.pem") for n in range(many)]
            to = talk.route()
            contexts = ServerContexts(talk.proxy(to, certificates=(*stored, leaf.plan())))
            asked = talk.hello(f"n{many - 1}.example")
            contexts.for_hello(to, asked)
            return min(_timed(lambda: contexts.for_hello(to, asked)) for _ in range(5))

        few, many = cost(10), cost(1000)
        self.assertLess(many, 5 * few)


class KindTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.route = talk.route(RSA, EXACT)
        self.contexts = ServerContexts(talk.proxy(self.route))

    def kind(self, **options: object) -> str:
        connecting = talk.client(CA, **options)
        talk.connected(self.contexts, self.route, connecting)
        return type(connecting.get_peer_certificate(as_cryptography=True).public_key()).__name__

    def test_ecdsa_for_who_can(self) -> None:
        self.assertEqual(self.kind(), "ECPublicKey")
        self.assertEqual(self.kind(most=SSL.TLS1_2_VERSION), "ECPublicKey")

    def test_rsa_for_who_offers_nothing_else_in_tls_1_2(self) -> None:
        self.assertEqual(
            self.kind(most=SSL.TLS1_2_VERSION, ciphers=b"ECDHE-RSA-AES128-GCM-SHA256"), "RSAPublicKey"
        )

    def test_rsa_for_who_verifies_nothing_else(self) -> None:
        asked = talk.hello(signature_algorithms=(0x0804, 0x0401))
        self.assertEqual(self.contexts.certificate_for(self.route.tls, asked).plan.source, "rsa.pem")
        asked = talk.hello(signature_algorithms=(0x0503,))  # ECDSA, but not with our curve
        self.assertEqual(self.contexts.certificate_for(self.route.tls, asked).plan.source, "a.pem")


class NegotiationTests(SynchronousTestCase):
    def test_both_versions_are_spoken(self) -> None:
        to = talk.route(EXACT)
        contexts = ServerContexts(talk.proxy(to))
        for most, version in ((0, "TLSv1.3"), (SSL.TLS1_2_VERSION, "TLSv1.2")):
            accepting = talk.connected(contexts, to, talk.client(CA, most=most))
            self.assertEqual(accepting.get_protocol_version_name(), version)

    def test_an_older_version_than_the_oldest_is_refused(self) -> None:
        to = talk.route(EXACT, min_version="1.3")
        contexts = ServerContexts(talk.proxy(to))
        with self.assertRaises(SSL.Error):
            talk.connected(contexts, to, talk.client(CA, most=SSL.TLS1_2_VERSION))

    def test_alpn_is_our_first_that_the_client_offers(self) -> None:
        to = talk.route(EXACT, alpn=("h2", "http/1.1"))
        contexts = ServerContexts(talk.proxy(to))
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

    def test_a_client_that_offers_alpn_to_a_route_without_is_served(self) -> None:
        to = talk.route(EXACT)
        connecting = talk.client(CA, alpn=(b"h2", b"http/1.1"))
        talk.connected(ServerContexts(talk.proxy(to)), to, connecting)
        self.assertEqual(connecting.get_alpn_proto_negotiated(), b"")

    def test_the_chain_is_sent(self) -> None:
        middle = Authority("middle", above=CA)
        to = talk.route(middle.leaf("a.example").plan())
        connecting = talk.client(CA)
        talk.connected(ServerContexts(talk.proxy(to)), to, connecting)
        self.assertEqual(len(connecting.get_peer_cert_chain(as_cryptography=True)), 2)

    def test_own_order_decides_where_it_is_asked_for(self) -> None:
        first, second = "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256"
        for own_order, chosen in ((True, first), (False, second)):
            to = talk.route(EXACT, ciphers=f"{first}:{second}", own_order=own_order)
            connecting = talk.client(CA, most=SSL.TLS1_2_VERSION, ciphers=f"{second}:{first}".encode())
            accepting = talk.connected(ServerContexts(talk.proxy(to)), to, connecting)
            self.assertEqual(accepting.get_cipher_name(), chosen)


class ResumptionTests(SynchronousTestCase):
    def again(self, contexts: ServerContexts, *routes: object, most: int = 0) -> bool:
        """Whether a session with the first of ``routes`` is taken up by the last one."""
        first, last = routes[0], routes[-1]
        context = talk.client_context(CA, most=most, certificate=CA.leaf("robot", client=True))
        before = talk.client(context=context)
        talk.connected(contexts, first, before)
        before.shutdown()
        after = talk.client(context=context)
        after.set_session(before.get_session())
        return talk.resumed(talk.connected(contexts, last, after))

    def test_a_session_is_taken_up_by_the_same_host(self) -> None:
        to = talk.route(EXACT)
        contexts = ServerContexts(talk.proxy(to))
        self.assertTrue(self.again(contexts, to))
        self.assertTrue(self.again(contexts, to, most=SSL.TLS1_2_VERSION))

    def test_a_session_is_taken_up_where_client_certificates_are_asked_for(self) -> None:
        to = talk.route(EXACT, client_auth=ClientAuthPlan(required=True, ca=CA.pem))
        self.assertTrue(self.again(ServerContexts(talk.proxy(to)), to))

    def test_a_session_is_never_taken_up_where_other_client_certificates_are_asked_for(self) -> None:
        plain, asked = talk.route(EXACT), ClientAuthPlan(required=True, ca=CA.pem)
        strict = talk.route(EXACT, name="strict", client_auth=asked)
        other = ClientAuthPlan(required=True, ca=CA.pem, match=("CN:robot",))
        stricter = talk.route(EXACT, name="stricter", client_auth=other)
        contexts = ServerContexts(talk.proxy(plain, strict, stricter))
        for most in (0, SSL.TLS1_2_VERSION):
            self.assertFalse(self.again(contexts, plain, strict, most=most))
            self.assertFalse(self.again(contexts, strict, stricter, most=most))
            self.assertFalse(self.again(contexts, strict, plain, most=most))

    def test_a_session_survives_a_reload_that_changes_nothing_of_it(self) -> None:
        to = talk.route(EXACT)
        contexts = ServerContexts(talk.proxy(to))
        context = contexts.for_hello(to, talk.hello())
        more = talk.route(RSA, name="more")
        same = talk.route(EXACT, handshake_timeout=3.0)
        later = ServerContexts(talk.proxy(same, more), contexts)
        self.assertIs(later.for_hello(same, talk.hello()), context)
        other = talk.route(EXACT, min_version="1.3")
        latest = ServerContexts(talk.proxy(other), later)
        self.assertIsNot(latest.for_hello(other, talk.hello()), context)


class ChangeTests(SynchronousTestCase):
    def test_a_renewed_certificate_is_shown_to_whoever_comes_then(self) -> None:
        to = talk.route(EXACT)
        contexts = ServerContexts(talk.proxy(to))
        early = talk.client(CA)
        accepted = talk.connected(contexts, to, early)
        newer = CA.leaf("a.example", end=90 * DAY)
        contexts.renew({EXACT: newer.plan()})
        late = talk.client(CA)
        talk.connected(contexts, to, late)
        self.assertEqual(late.get_peer_certificate(as_cryptography=True), newer.certificate)
        accepted.send(b"still here")
        talk.carry(accepted, early)
        self.assertEqual(early.recv(10), b"still here")

    def test_a_reload_reads_what_is_there_and_not_what_was_renewed_before(self) -> None:
        to = talk.route(EXACT)
        contexts = ServerContexts(talk.proxy(to))
        contexts.renew({EXACT: CA.leaf("a.example", end=90 * DAY).plan("newer.pem")})
        back = ServerContexts(talk.proxy(to), contexts)
        self.assertEqual(back.certificate_for(to.tls, talk.hello()).plan.source, "a.pem")

    def test_another_store_is_shown_at_once(self) -> None:
        to, own = talk.route(), talk.route(RSA, name="own")
        contexts = ServerContexts(talk.proxy(to, own, certificates=(EXACT,)))
        other = CA.leaf("b.example").plan("b.pem")
        contexts.restock((other,))
        self.assertIsNone(contexts.certificate_for(to.tls, talk.hello("a.example")))
        self.assertEqual(contexts.certificate_for(to.tls, talk.hello("b.example")).plan.source, "b.pem")
        self.assertEqual(contexts.certificate_for(own.tls, talk.hello("a.example")).plan.source, "rsa.pem")


class EmbedderTests(SynchronousTestCase):
    def test_a_callable_is_asked_by_name_and_may_take_its_time(self) -> None:
        asked: list[str | None] = []
        later: Deferred[CertificatePlan] = Deferred()

        def choose(name: str | None) -> Deferred[CertificatePlan]:
            asked.append(name)
            return later if len(asked) == 1 else succeed(EXACT)

        to = talk.route(certificate_for=choose)
        contexts = ServerContexts(talk.proxy(to))
        waiting = contexts.for_hello(to, talk.hello("a.example"))
        self.assertNoResult(waiting)
        later.callback(EXACT)
        context = self.successResultOf(waiting)
        self.assertEqual(asked, ["a.example"])
        self.assertIs(self.successResultOf(contexts.for_hello(to, talk.hello("a.example"))), context)

    def test_a_coroutine_function_and_a_plain_one_do_as_well(self) -> None:
        async def choose(_name: str | None) -> CertificatePlan:
            return await succeed(EXACT)

        for choice in (choose, lambda _: EXACT):
            to = talk.route(certificate_for=choice)
            context = self.successResultOf(ServerContexts(talk.proxy(to)).for_hello(to, talk.hello()))
            self.assertIsInstance(context, SSL.Context)

    def test_none_refuses_and_what_it_raises_is_passed_on(self) -> None:
        to = talk.route(certificate_for=lambda _: None)
        self.failureResultOf(ServerContexts(talk.proxy(to)).for_hello(to, talk.hello()), HandshakeRefused)
        to = talk.route(certificate_for=lambda _: 1 / 0)
        self.failureResultOf(ServerContexts(talk.proxy(to)).for_hello(to, talk.hello()), ZeroDivisionError)


def _timed(call: object) -> float:
    begin = perf_counter()
    for _ in range(200):
        call()
    return perf_counter() - begin
