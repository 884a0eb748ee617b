"""TLS towards a target: whom we believe it is, and what we ask for."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import HandshakeFailed, TlsError
from smartproxy.model.plan import ClientAuthPlan, OriginationPlan
from smartproxy.tls.certificate import Certificate
from smartproxy.tls.contexts import ClientContexts, ServerContexts
from smartproxy.tls.identity import peer_identity
from tests.tls import talk
from tests.tls.made import DAY, Authority, Leaf

CA = Authority()
STRANGER = Authority("stranger")
TARGET = CA.leaf("a.example", "192.0.2.1")


class TargetTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clients = ClientContexts()

    def connect(
        self, host: str = "a.example", leaf: Leaf = TARGET, to: Any = None, **options: Any
    ) -> SSL.Connection:
        """Our end, when hands were shaken and the target verified."""
        name = Certificate(leaf.plan()).names[0]
        servers = ServerContexts(talk.proxy(certificates=(leaf.plan(),), default=name))
        tls = OriginationPlan(**{"ca": CA.pem, **options})
        connecting = self.clients.connection(tls, host)
        talk.connected(servers, to or talk.route(), connecting)
        self.clients.verify(connecting, tls, host)
        return connecting

    def test_who_it_should_be(self) -> None:
        self.assertEqual(self.connect().get_servername(), b"a.example")

    def test_an_address_is_verified_and_not_sent_as_a_name(self) -> None:
        self.assertIsNone(self.connect("192.0.2.1").get_servername())
        why = self.assertRaises(HandshakeFailed, self.connect, "192.0.2.2")
        self.assertEqual(why.detail, "certificate of the target: is not for 192.0.2.2")

    def test_the_name_of_another_is_refused(self) -> None:
        made = CA.leaf("b.example")
        why = self.assertRaises(HandshakeFailed, self.connect, leaf=made)
        self.assertEqual(why.detail, "certificate of the target: is not for a.example")

    def test_a_certificate_without_names_is_refused(self) -> None:
        self.assertRaises(HandshakeFailed, self.connect, leaf=CA.leaf(common_name="a.example"))

    def test_server_name_is_asked_for_and_verified_in_place_of_the_host(self) -> None:
        self.assertEqual(self.connect("10.0.0.1", server_name="a.example").get_servername(), b"a.example")

    def test_a_name_in_unicode_is_asked_for_as_it_is_on_the_wire(self) -> None:
        made = CA.leaf("xn--bcher-kva.example")
        self.assertEqual(
            self.connect("b\u00fccher.example.", leaf=made).get_servername(), b"xn--bcher-kva.example"
        )

    def test_who_is_vouched_for_by_a_stranger_is_refused_with_the_reason(self) -> None:
        why = self.assertRaises(TlsError, self.connect, leaf=STRANGER.leaf("a.example"))
        self.assertEqual(str(why), "certificate of the target: its issuer is not known")
        why = self.assertRaises(TlsError, self.connect, leaf=CA.leaf("a.example", start=-9 * DAY, end=-DAY))
        self.assertEqual(str(why), "certificate of the target: it has expired")

    def test_without_verification_anyone_will_do(self) -> None:
        self.connect("other.test", leaf=STRANGER.leaf("a.example"), verify=False,
                     server_name="a.example")  # fmt: skip

    def test_the_systems_store_does_not_know_our_authority(self) -> None:
        self.assertRaises(TlsError, self.connect, ca=None)

    def test_alpn_and_version_are_asked_for(self) -> None:
        to = talk.route(alpn=("http/1.1",))
        self.assertEqual(
            self.connect(to=to, alpn=("h2", "http/1.1")).get_alpn_proto_negotiated(), b"http/1.1"
        )
        self.assertEqual(self.connect(min_version="1.3").get_protocol_version_name(), "TLSv1.3")

    def test_our_own_certificate_is_shown(self) -> None:
        to = talk.route(TARGET.plan(), client_auth=ClientAuthPlan(required=True, ca=CA.pem))
        ours = CA.leaf("proxy", client=True)
        tls = OriginationPlan(ca=CA.pem, certificate=ours.plan())
        connecting = self.clients.connection(tls, "a.example")
        accepting = talk.connected(ServerContexts(talk.proxy(to)), to, connecting)
        self.assertEqual(peer_identity(accepting).common_name, "proxy")


class SessionTests(SynchronousTestCase):
    def test_a_session_is_taken_up_by_the_next_connection_to_the_same_name_only(self) -> None:
        clients, to = ClientContexts(), talk.route(CA.leaf("*.hosts.example").plan())
        servers, tls = ServerContexts(talk.proxy(to)), OriginationPlan(ca=CA.pem)

        def connect(host: str) -> bool:
            connecting = clients.connection(tls, host)
            talk.connected(servers, to, connecting)
            clients.verify(connecting, tls, host)
            clients.keep(connecting, tls, host)
            return talk.resumed(connecting)

        self.assertEqual(
            [
                connect(host)
                for host in ("a.hosts.example", "a.hosts.example", "b.hosts.example", "a.hosts.example")
            ],
            [False, True, False, True],
        )
