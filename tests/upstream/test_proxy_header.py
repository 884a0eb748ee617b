"""The PROXY header sent to a target: addresses and TLVs."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.model.address import Endpoint
from smartproxy.model.facts import ApplicationProtocol
from smartproxy.model.plan import SendHeader, TargetPlan
from smartproxy.upstream.proxy_header import SendProxyHeader
from smartproxy.wire import proxy_detect, proxy_tlv, proxy_v2
from smartproxy.wire.client_hello import ClientHello
from smartproxy.wire.http_head import RequestHead
from smartproxy.wire.proxy_header import ProxyHeader, Tlv
from smartproxy.wire.verdict import Done
from tests.phases.made import CLIENT, Client, routed

OURS = ("203.0.113.5", 443)
ANNOUNCED = ("203.0.113.77", 8443)
RECEIVED = ProxyHeader(
    2,
    source=tuple(CLIENT),
    destination=ANNOUNCED,
    tlvs=(
        Tlv(proxy_tlv.PP2_TYPE_CRC32C, b"\x01\x02\x03\x04"),
        Tlv(proxy_tlv.PP2_TYPE_ALPN, b"h2"),
        Tlv(proxy_tlv.PP2_TYPE_AUTHORITY, b"outer.example"),
        Tlv(proxy_tlv.PP2_TYPE_UNIQUE_ID, b"theirs"),
        Tlv(proxy_tlv.PP2_TYPE_SSL, b"\x01\x00\x00\x00\x00"),
        Tlv(proxy_tlv.PP2_TYPE_NOOP, b"\x00\x00"),
        Tlv(0xE5, bytes(range(256))),
    ),
)


class SendProxyHeaderTests(SynchronousTestCase):
    def build(self, sending=None, *, hello=None, request=None, **more):
        phase = SendProxyHeader(lambda: b"ours-1")
        facts = routed(**more)
        if hello is not None:
            facts = facts._replace(
                detected=facts.detected._replace(
                    protocol=ApplicationProtocol.TLS, hello=ClientHello(server_name=hello)
                )
            )
        if request is not None:
            head = RequestHead("GET", "/", "/", request)
            facts = facts._replace(
                detected=facts.detected._replace(protocol=ApplicationProtocol.HTTP, request=head)
            )
        plan = TargetPlan(("192.0.2.9",), 80, send_header=sending)
        return phase(facts, plan, Client(near=OURS).side)

    def sent(self, *names, **more):
        built = self.build(SendHeader(2, names), **more)
        verdict = proxy_v2.parse(built)
        self.assertIsInstance(verdict, Done)
        self.assertEqual(verdict.consumed, len(built))
        return verdict.value

    def tlvs(self, *names, **more):
        return [tuple(tlv) for tlv in self.sent(*names, **more).tlvs]

    def test_no_header_without_configuration(self):
        self.assertEqual(self.build(), b"")

    def test_version_1_header(self):
        self.assertEqual(self.build(SendHeader(1)), b"PROXY TCP4 192.0.2.1 203.0.113.5 4000 443\r\n")

    def test_version_2_header(self):
        header = self.sent()
        self.assertEqual((header.source, header.destination, header.tlvs), (tuple(CLIENT), OURS, ()))

    def test_ipv6_client_of_an_ipv4_listener(self):
        client = Endpoint("2001:db8::7", 4000)
        line = self.build(SendHeader(1), client=client)
        self.assertTrue(line.startswith(b"PROXY TCP6 2001:db8::7 "), line)
        self.assertEqual(self.sent(client=client).source, tuple(client))

    def test_announced_destination_is_passed_on(self):
        """In a chain of proxies, the backend must see where the client connected to, not the outer proxy's address."""
        header = self.sent(header=RECEIVED)
        self.assertEqual((header.source, header.destination), (tuple(CLIENT), ANNOUNCED))

    def test_local_header_has_no_destination_to_pass_on(self):
        self.assertEqual(self.sent(header=ProxyHeader(2, local=True)).destination, OURS)

    def test_no_tlv_without_configuration(self):
        self.assertEqual(self.tlvs(header=RECEIVED, hello="a.example"), [])

    def test_local_address_is_no_authority(self):
        """A route may be chosen by it, but the client has asked for no name."""
        facts = routed()
        detected = facts.detected._replace(hello=ClientHello(), local="203.0.113.5")
        phase = SendProxyHeader(lambda: b"")
        self.assertIsNone(phase._own("authority", detected))

    def test_authority_is_the_requested_name(self):
        name = (proxy_tlv.PP2_TYPE_AUTHORITY, b"a.example")
        self.assertEqual(self.tlvs("authority", hello="a.example"), [name])
        self.assertEqual(self.tlvs("authority", request="a.example"), [name])
        self.assertEqual(self.tlvs("authority"), [])

    def test_received_tlvs_take_precedence_over_own_values(self):
        self.assertEqual(
            self.tlvs("authority", "alpn", "ssl", "uniqueId", header=RECEIVED, hello="a.example"),
            [
                (proxy_tlv.PP2_TYPE_ALPN, b"h2"),
                (proxy_tlv.PP2_TYPE_AUTHORITY, b"outer.example"),
                (proxy_tlv.PP2_TYPE_UNIQUE_ID, b"theirs"),
                (proxy_tlv.PP2_TYPE_SSL, b"\x01\x00\x00\x00\x00"),
            ],
        )

    def test_tlv_without_a_value_is_left_out(self):
        self.assertEqual(self.tlvs("alpn", "ssl", hello="a.example"), [])

    def test_unique_id_is_generated_where_none_was_received(self):
        self.assertEqual(self.tlvs("uniqueId"), [(proxy_tlv.PP2_TYPE_UNIQUE_ID, b"ours-1")])

    def test_crc32c_is_recomputed_and_valid(self):
        built = self.build(SendHeader(2, ("crc32c", "passThrough")), header=RECEIVED)
        self.assertIsInstance(proxy_detect.parse(built), Done)
        broken = built[:-1] + bytes([built[-1] ^ 1])
        self.assertNotIsInstance(proxy_detect.parse(broken), Done)

    def test_pass_through_forwards_other_tlvs_byte_for_byte(self):
        self.assertEqual(
            self.tlvs("passThrough", header=RECEIVED),
            [
                tuple(tlv)
                for tlv in RECEIVED.tlvs
                if tlv.type not in (proxy_tlv.PP2_TYPE_CRC32C, proxy_tlv.PP2_TYPE_NOOP)
            ],
        )

    def test_custom_tlvs_are_sent_and_replace_received_ones(self):
        custom = (Tlv(0xE5, b"ours"), Tlv(0xE0, b"\x00\xff"))
        header = self.build(SendHeader(2, ("alpn", "passThrough"), custom), header=RECEIVED)
        sent = [tuple(tlv) for tlv in proxy_v2.parse(header).value.tlvs]
        self.assertEqual(sent[:3], [(proxy_tlv.PP2_TYPE_ALPN, b"h2"), *map(tuple, custom)])
        self.assertEqual([kind for kind, _ in sent].count(0xE5), 1)
        self.assertEqual(
            {kind for kind, _ in sent[3:]},
            {proxy_tlv.PP2_TYPE_AUTHORITY, proxy_tlv.PP2_TYPE_UNIQUE_ID, proxy_tlv.PP2_TYPE_SSL},
        )

    def test_pass_through_sends_no_tlv_twice(self):
        kinds = [kind for kind, _ in self.tlvs("uniqueId", "passThrough", header=RECEIVED)]
        self.assertEqual(len(kinds), len(set(kinds)))
        self.assertIn(0xE5, kinds)

    def test_pass_through_without_a_received_header(self):
        self.assertEqual(self.tlvs("passThrough"), [])
