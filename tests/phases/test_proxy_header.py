"""Reading a PROXY header: which client it announces, and when it is ignored or refused."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import Refused
from smartproxy.metrics.counters import Counters
from smartproxy.model.address import Endpoint
from smartproxy.model.outcome import RejectReason
from smartproxy.model.plan import AcceptHeader
from smartproxy.phases.proxy_header import ReadProxyHeader
from smartproxy.wire import proxy_detect, proxy_tlv, proxy_v1, proxy_v2
from smartproxy.wire.proxy_header import Tlv
from tests.phases.made import ACCEPTED, PEER, Client

SOURCE, DESTINATION = ("192.0.2.1", 4000), ("203.0.113.5", 443)
V1 = proxy_v1.build(SOURCE, DESTINATION)
TLVS = (Tlv(proxy_tlv.PP2_TYPE_AUTHORITY, b"a.example"), Tlv(0xE0, bytes(range(256)) * 3))
V2 = proxy_v2.build(SOURCE, DESTINATION, tlvs=TLVS, crc32c=True)
TRUSTED = frozenset({PEER.host})


class ReadProxyHeaderTests(SynchronousTestCase):
    def setUp(self):
        self.counters = Counters()
        self.client = Client()

    def read(self, accept=AcceptHeader.DETECT, *, trusted=TRUSTED, timeout=5.0):
        phase = ReadProxyHeader(trusted, accept, timeout, self.client.deadlines, self.counters)
        return self.client.run(phase(self.client.side, ACCEPTED))

    def counted(self):
        return {labels: count for labels, count in self.counters.proxy_headers.items() if count}

    def assert_refused(self, waiting, reason):
        self.assertIs(self.failureResultOf(waiting, Refused).value.reason, reason)
        self.assertEqual(len(self.client.deadlines), 0)

    def assert_direct(self, waiting, held):
        announced = self.successResultOf(waiting)
        self.assertEqual((announced.client, announced.header), (PEER, None))
        self.assertEqual(self.client.side.buffered, held)

    def test_header_of_either_version_announces_the_client(self):
        for header, version in ((V1, 1), (V2, 2)):
            self.setUp()
            reading = self.read()
            self.client.say(header + b"payload")
            announced = self.successResultOf(reading)
            self.assertEqual((announced.client, announced.proxy_version), (Endpoint(*SOURCE), version))
            self.assertEqual(announced.header.destination, DESTINATION)
            self.assertEqual(announced.accepted.peer, PEER)
            self.assertEqual(self.client.side.buffered, b"payload")
            self.assertEqual(self.counted(), {(str(version), "ok"): 1})
            self.assertEqual(len(self.client.deadlines), 0)

    def test_header_that_is_already_buffered_is_read(self):
        self.client.say(V2)
        self.assertEqual(self.successResultOf(self.read()).client, Endpoint(*SOURCE))

    def test_header_cut_at_every_offset_is_read(self):
        """TCP may deliver a header in any pieces; a check of the first segment alone would miss it."""
        for header in (V1, V2):
            for cut in range(1, len(header)):
                self.setUp()
                reading = self.read()
                self.client.say(header[:cut])
                self.assertNoResult(reading)
                self.client.say(header[cut:] + b"x")
                announced = self.successResultOf(reading)
                self.assertEqual((announced.client, self.client.side.buffered), (Endpoint(*SOURCE), b"x"))
        self.assertEqual(announced.header.tlvs[:2], TLVS)

    def test_header_in_single_bytes_is_read(self):
        reading = self.read()
        for at in range(len(V2)):
            self.client.say(V2[at : at + 1])
        self.assertEqual(self.successResultOf(reading).client, Endpoint(*SOURCE))

    def test_large_header_in_single_bytes_is_parsed_few_times(self):
        """Its length is in its first 16 bytes, so that nothing is looked at before the last byte."""
        calls = []
        parse = proxy_detect.parse
        self.patch(proxy_detect, "parse", lambda data: calls.append(len(data)) or parse(data))
        header = proxy_v2.build(SOURCE, DESTINATION, tlvs=[Tlv(0xE0, bytes(4000))])
        reading = self.read()
        for at in range(len(header)):
            self.client.say(header[at : at + 1])
        self.assertEqual(self.successResultOf(reading).client, Endpoint(*SOURCE))
        self.assertLess(sum(calls), 2 * len(header))

    def test_header_of_an_untrusted_peer_is_payload(self):
        """Otherwise any client could claim another address and so bypass lists and limits."""
        self.client.say(V1)
        for accept in AcceptHeader:
            self.assert_direct(self.read(accept, trusted=frozenset({"192.0.2.200"})), V1)
            self.assert_direct(self.read(accept, trusted=None), V1)
        self.assertEqual(self.counted(), {})

    def test_header_is_payload_where_none_is_accepted(self):
        self.client.say(V1)
        self.assert_direct(self.read(AcceptHeader.NEVER), V1)
        self.assertEqual(self.counted(), {})

    def test_second_header_is_payload(self):
        """It is sent by the client behind the trusted proxy, and must not replace the announced address."""
        self.client.say(V1 + proxy_v1.build(("6.6.6.6", 6), DESTINATION))
        self.assertEqual(self.successResultOf(self.read()).client, Endpoint(*SOURCE))
        self.assertEqual(self.client.side.buffered, proxy_v1.build(("6.6.6.6", 6), DESTINATION))

    def test_other_bytes_come_from_a_direct_client(self):
        self.client.say(b"GET / HTTP/1.1\r\n")
        self.assert_direct(self.read(), b"GET / HTTP/1.1\r\n")
        self.assertEqual(self.counted(), {("none", "missing"): 1})

    def test_other_bytes_are_refused_where_a_header_is_required(self):
        """With ``require``, a peer that sends no header would be routed by the address of the proxy in front."""
        self.client.say(b"GET / HTTP/1.1\r\n")
        self.assert_refused(self.read(AcceptHeader.REQUIRE), RejectReason.PROXY_HEADER_MISSING)
        self.assertEqual(self.counted(), {("none", "missing"): 1})

    def test_silent_peer_is_a_direct_client_at_the_timeout(self):
        """In its protocol, the server may be the one that sends first."""
        reading = self.read(timeout=5.0)
        self.client.pass_time(4.9)
        self.assertNoResult(reading)
        self.client.pass_time(0.3)
        self.assert_direct(reading, b"")
        self.assertEqual(self.counted(), {("none", "missing"): 1})

    def test_silent_peer_is_refused_where_a_header_is_required(self):
        reading = self.read(AcceptHeader.REQUIRE)
        self.client.pass_time(5.2)
        self.assert_refused(reading, RejectReason.PROXY_HEADER_MISSING)

    def test_partial_header_is_refused_at_the_timeout(self):
        for accept in (AcceptHeader.DETECT, AcceptHeader.REQUIRE):
            for part in (V1[:1], V1[:20], V2[:4], V2[:100]):
                self.setUp()
                reading = self.read(accept)
                self.client.say(part)
                self.client.pass_time(5.2)
                self.assert_refused(reading, RejectReason.PROXY_HEADER_TIMEOUT)
                self.assertEqual(self.counted(), {("none", "timeout"): 1})

    def test_slow_bytes_do_not_extend_the_timeout(self):
        """A peer that sends one byte at a time (Slowloris) has no more time than a silent one."""
        reading = self.read()
        for at in range(10):
            self.client.say(V1[at : at + 1])
            self.client.pass_time(0.5)
        self.client.pass_time(0.2)
        self.assert_refused(reading, RejectReason.PROXY_HEADER_TIMEOUT)

    def test_timeout_of_0_waits_without_limit(self):
        reading = self.read(timeout=0.0)
        self.client.pass_time(100)
        self.assertNoResult(reading)
        self.client.say(V1)
        self.assertEqual(self.successResultOf(reading).client, Endpoint(*SOURCE))

    def test_malformed_header_is_refused(self):
        broken = V2[:-1] + bytes([V2[-1] ^ 1])
        for bytes_ in (b"PROXY TCP4 nonsense\r\n", broken):
            self.setUp()
            reading = self.read()
            self.client.say(bytes_)
            self.assert_refused(reading, RejectReason.PROXY_HEADER_INVALID)
            self.assertEqual(self.counted(), {("none", "invalid"): 1})

    def test_fin_within_a_header_is_refused(self):
        reading = self.read()
        self.client.say(V1[:10])
        self.client.fin()
        self.assert_refused(reading, RejectReason.PROXY_HEADER_INVALID)

    def test_fin_before_the_first_byte_is_a_direct_client(self):
        reading = self.read()
        self.client.fin()
        self.assert_direct(reading, b"")

    def test_header_without_address_makes_the_peer_the_client(self):
        for header in (b"PROXY UNKNOWN\r\n", proxy_v2.build(None, None)):
            self.setUp()
            self.client.say(header)
            announced = self.successResultOf(self.read())
            self.assertEqual(announced.client, PEER)
            self.assertIsNotNone(announced.header)
