"""TLS to a target: the check of its identity, what is offered to it, and which sessions are kept."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from typing import Any

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import HandshakeFailed, TlsError
from smartproxy.model.plan import ClientAuthPlan, OriginationPlan
from smartproxy.tls import client_contexts
from smartproxy.tls.certificate import Certificate
from smartproxy.tls.client_contexts import ClientContexts
from smartproxy.tls.identity import peer_identity
from tests.tls import talk
from tests.tls.made import DAY, PEM, Authority, Leaf

CA = Authority()
STRANGER = Authority("stranger")
TARGET = CA.leaf("a.example", "192.0.2.1")
PLAIN = OriginationPlan(ca=CA.pem)


class TargetTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clients = ClientContexts()

    def connect(
        self, host: str = "a.example", leaf: Leaf = TARGET, to: Any = None, **options: Any
    ) -> SSL.Connection:
        """The connection, after its handshake and the check of the target's name."""
        name = Certificate(leaf.plan()).names[0]
        servers = talk.contexts(talk.proxy(certificates=(leaf.plan(),), default=name))
        tls = OriginationPlan(**{"ca": CA.pem, **options})
        name = tls.name_for(host, None)
        connecting = self.clients.connection(tls, name)
        talk.connected(servers, to or talk.route(), connecting)
        self.clients.verify(connecting, tls, name)
        return connecting

    def test_target_with_its_own_name_is_accepted(self) -> None:
        self.assertEqual(self.connect().get_servername(), b"a.example")

    def test_address_is_verified_and_not_sent_as_server_name(self) -> None:
        self.assertIsNone(self.connect("192.0.2.1").get_servername())
        why = self.assertRaises(HandshakeFailed, self.connect, "192.0.2.2")
        self.assertEqual(why.detail, "certificate of the target: is not for 192.0.2.2")

    def test_certificate_for_another_name_is_refused(self) -> None:
        made = CA.leaf("b.example")
        why = self.assertRaises(HandshakeFailed, self.connect, leaf=made)
        self.assertEqual(why.detail, "certificate of the target: is not for a.example")

    def test_certificate_without_subject_alt_name_is_refused(self) -> None:
        self.assertRaises(HandshakeFailed, self.connect, leaf=CA.leaf(common_name="a.example"))

    def test_server_name_is_sent_and_verified_instead_of_the_host(self) -> None:
        self.assertEqual(self.connect("10.0.0.1", server_name="a.example").get_servername(), b"a.example")

    def test_unicode_name_is_sent_and_verified_as_a_labels(self) -> None:
        made = CA.leaf("xn--bcher-kva.example")
        self.assertEqual(
            self.connect("b\u00fccher.example.", leaf=made).get_servername(), b"xn--bcher-kva.example"
        )

    def test_certificate_that_does_not_verify_fails_with_the_reason(self) -> None:
        why = self.assertRaises(TlsError, self.connect, leaf=STRANGER.leaf("a.example"))
        self.assertEqual(str(why), "certificate of the target: its issuer is unknown")
        why = self.assertRaises(TlsError, self.connect, leaf=CA.leaf("a.example", start=-9 * DAY, end=-DAY))
        self.assertEqual(str(why), "certificate of the target: it has expired")

    def test_any_certificate_is_accepted_without_verification(self) -> None:
        self.connect("other.test", leaf=STRANGER.leaf("a.example"), verify=False,
                     server_name="a.example")  # fmt: skip

    def test_intermediate_or_the_leaf_itself_is_trusted_as_ca(self) -> None:
        """As in curl and Go: what is in ``ca`` needs no issuer."""
        between = Authority("intermediate", above=CA)
        leaf = between.leaf("a.example")
        self_signed = Authority("alone")
        pinned = self_signed.leaf("a.example")
        for ca, shown in (
            (between.pem, leaf),
            (leaf.certificate.public_bytes(PEM), leaf),
            (pinned.certificate.public_bytes(PEM), pinned),
            (CA.pem, leaf),
            (CA.pem + pinned.certificate.public_bytes(PEM), pinned),
        ):
            self.connect(leaf=shown, ca=ca)

    def test_pinned_certificate_does_not_vouch_for_others(self) -> None:
        """Neither for another one of its issuer nor for what it has signed; and its name and dates count."""
        pinned = CA.leaf("a.example").certificate.public_bytes(PEM)
        for leaf in (CA.leaf("a.example", number=1), STRANGER.leaf("a.example")):
            self.assertRaises(TlsError, self.connect, leaf=leaf, ca=pinned)
        expired = CA.leaf("a.example", start=-9 * DAY, end=-DAY)
        self.assertRaises(TlsError, self.connect, leaf=expired, ca=expired.certificate.public_bytes(PEM))
        other = CA.leaf("b.example")
        self.assertRaises(HandshakeFailed, self.connect, leaf=other, ca=other.certificate.public_bytes(PEM))

    def test_name_that_no_certificate_has_is_a_failed_handshake(self) -> None:
        """It may come from a callable; the settings refuse it."""
        for name in ("b.t:443", "*.b.t", "[::1]", "a..b", "", "x" * 300, "\u2603.example\u3002.", "1234"):
            self.assertRaises(HandshakeFailed, self.connect, server_name=name or ".")

    def test_private_authority_is_not_in_the_system_store(self) -> None:
        self.assertRaises(TlsError, self.connect, ca=None)

    def test_alpn_and_minimum_version_are_negotiated(self) -> None:
        to = talk.route(alpn=("http/1.1",))
        self.assertEqual(
            self.connect(to=to, alpn=("h2", "http/1.1")).get_alpn_proto_negotiated(), b"http/1.1"
        )
        self.assertEqual(self.connect(min_version="1.3").get_protocol_version_name(), "TLSv1.3")

    def test_own_certificate_is_sent_to_a_target_that_asks(self) -> None:
        to = talk.route(TARGET.plan(), client_auth=ClientAuthPlan(required=True, ca=CA.pem))
        ours = CA.leaf("proxy", client=True)
        tls = OriginationPlan(ca=CA.pem, certificate=ours.plan())
        connecting = self.clients.connection(tls, "a.example")
        accepting = talk.connected(talk.contexts(talk.proxy(to)), to, connecting)
        self.assertEqual(peer_identity(accepting).common_name, "proxy")


class SessionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clients = ClientContexts()
        self.route = talk.route(CA.leaf("*.hosts.example").plan())
        self.servers = talk.contexts(talk.proxy(self.route))

    def connect(self, name: str, tls: OriginationPlan = PLAIN) -> bool:
        """Whether a connection that is kept afterwards has resumed a session."""
        host = f"{name}.hosts.example"
        connecting = self.clients.connection(tls, host)
        self.clients.resume(connecting, tls, host)
        talk.connected(self.servers, self.route, connecting)
        self.clients.verify(connecting, tls, host)
        self.clients.keep(connecting, tls, host)
        return talk.resumed(connecting)

    def test_session_is_resumed_by_the_next_connection_to_its_name(self) -> None:
        self.assertEqual([self.connect(name) for name in "aaba"], [False, True, False, True])

    def test_session_is_not_kept_or_offered_without_reuse(self) -> None:
        never = replace(PLAIN, session_reuse=False)
        self.assertEqual([self.connect("a", never) for _ in range(2)], [False, False])
        self.assertEqual([self.connect("a", tls) for tls in (PLAIN, never, PLAIN)], [False, False, True])

    def test_session_that_was_forgotten_is_not_offered(self) -> None:
        self.connect("a")
        self.clients.forget(PLAIN, "a.hosts.example")
        self.assertFalse(self.connect("a"))

    def test_least_recently_stored_session_is_evicted(self) -> None:
        """A target's host may come from a callable, so that there is no end of names."""
        self.patch(client_contexts, "_MAX_SESSIONS", 2)
        self.assertEqual([self.connect(name) for name in "abac"], [False, False, True, False])
        self.assertEqual([self.connect(name) for name in "ab"], [True, False])

    def test_session_of_options_in_force_is_kept(self) -> None:
        """With another name in place of the host, too: it is not part of a context."""
        self.connect("a")
        self.clients.retain([replace(PLAIN, server_name="other.example")])
        self.assertTrue(self.connect("a"))

    def test_sessions_and_contexts_out_of_use_are_freed(self) -> None:
        other = replace(PLAIN, min_version="1.3")
        self.clients.retain([PLAIN, other])
        context = weakref.ref(self.clients.connection(other, "a.hosts.example").get_context())
        self.connect("a", other)
        self.connect("a")
        self.clients.retain([PLAIN])
        gc.collect()
        self.assertIsNone(context())
        self.assertEqual((self.connect("a"), self.connect("a", other)), (True, False))

    def test_contexts_of_chosen_targets_are_kept_up_to_a_limit(self) -> None:
        """A callable may give any number of TLS options, and none of them is in a configuration."""
        self.patch(client_contexts, "_MAX_CHOSEN", 2)
        self.clients.retain([PLAIN])
        options = [OriginationPlan(ca=CA.pem, alpn=(name,)) for name in ("a", "b", "c")]
        contexts = [weakref.ref(self.clients.connection(each, "h.example").get_context()) for each in options]
        gc.collect()
        self.assertEqual([context() is None for context in contexts], [True, False, False])
        self.clients.retain([PLAIN])
        for each, context in zip(options[1:], contexts[1:], strict=True):
            self.assertIs(self.clients.connection(each, "h.example").get_context(), context())

    def test_context_of_a_chosen_target_is_kept_when_it_is_configured(self) -> None:
        context = self.clients.connection(PLAIN, "h.example").get_context()
        self.clients.retain([PLAIN])
        self.assertIs(self.clients.connection(PLAIN, "h.example").get_context(), context)
