"""Detection of the client's protocol and of the name it asks for, from its first bytes."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import HandshakeRefused, PeerClosed, Refused
from smartproxy.model.facts import ApplicationProtocol
from smartproxy.model.outcome import RejectReason
from smartproxy.phases.detect import Detect
from smartproxy.phases.start_tls import AnswerStartTls
from smartproxy.wire import client_hello, postgres, tls_record
from smartproxy.wire.proxy_header import ProxyHeader
from smartproxy.wire.tls_alert import Alert
from tests.phases.made import Client, announced

REQUEST = b"GET /path HTTP/1.1\r\nHost: a.example\r\n\r\n"
HELLO = client_hello.build("a.example")
SSL, GSSENC = map(postgres.build, postgres.EncryptionRequest)


class DetectTests(SynchronousTestCase):
    def setUp(self):
        self.client = Client()

    def detect(self, *, timeout=60.0, needed=True):
        phase = Detect(timeout, self.client.deadlines, needed=needed)
        return self.client.run(phase(self.client.side, announced()))

    def assert_refused(self, waiting, reason):
        self.assertIs(self.failureResultOf(waiting, Refused).value.reason, reason)
        self.assertEqual(len(self.client.deadlines), 0)

    def test_detection_is_skipped_where_no_route_needs_it(self):
        detected = self.successResultOf(self.detect(needed=False))
        self.assertEqual((detected.protocol, detected.domain), (ApplicationProtocol.UNSEEN, None))
        self.assertEqual(len(self.client.deadlines), 0)

    def test_inspected_bytes_stay_buffered(self):
        for said, protocol, domain in (
            (HELLO, ApplicationProtocol.TLS, "a.example"),
            (REQUEST, ApplicationProtocol.HTTP, "a.example"),
            (b"SSH-2.0-x\r\n", ApplicationProtocol.RAW, None),
        ):
            for together in (True, False):
                self.setUp()
                detecting = self.detect()
                for piece in [said] if together else [said[at : at + 1] for at in range(len(said))]:
                    self.client.say(piece)
                detected = self.successResultOf(detecting)
                self.assertEqual((detected.protocol, detected.domain), (protocol, domain))
                self.assertEqual(self.client.side.buffered, said)
                self.assertEqual(len(self.client.deadlines), 0)

    def test_local_address_is_known_only_where_it_matters(self):
        nameless = client_hello.build(None)
        for has_addresses, said, local in (
            (True, nameless, "203.0.113.5"),
            (True, HELLO, None),
            (True, REQUEST, None),
            (False, nameless, None),
        ):
            self.setUp()
            phase = Detect(60.0, self.client.deadlines, needed=True, has_addresses=has_addresses)
            detecting = self.client.run(phase(self.client.side, announced()))
            self.client.say(said)
            detected = self.successResultOf(detecting)
            self.assertEqual(detected.local, local)
            self.assertEqual(
                (detected.domain, detected.asked_name),
                ("a.example",) * 2 if said != nameless else (local, None),
            )

    def test_announced_destination_is_the_local_address(self):
        """A balancer in front has accepted the connection, on an address of its own."""
        header = ProxyHeader(2, source=("192.0.2.1", 4000), destination=("198.51.100.1", 443))
        phase = Detect(60.0, self.client.deadlines, needed=True, has_addresses=True)
        detecting = self.client.run(phase(self.client.side, announced(header=header)))
        self.client.say(client_hello.build(None))
        self.assertEqual(self.successResultOf(detecting).local, "198.51.100.1")

    def test_name_cut_by_a_record_boundary_is_found(self):
        """A ClientHello may be split over records at any byte (RFC 8446, 5.1), also within the server name."""
        for size in (1, 7, 40):
            self.setUp()
            detecting = self.detect()
            self.client.say(client_hello.build("a.example", record_size=size))
            self.assertEqual(self.successResultOf(detecting).domain, "a.example")

    def test_large_hello_is_buffered_until_complete(self):
        """Nearly 128 KiB: more than the transport's window, and close to the limit of a ClientHello."""
        large = client_hello.build(
            "a.example", cipher_suites=[0x1301] * 32_700, extensions=[(99, bytes(65_000))]
        )
        detecting = self.detect()
        for at in range(0, len(large), 16_000):
            self.client.say(large[at : at + 16_000])
        self.client.clock.advance(0)
        self.assertEqual(self.successResultOf(detecting).domain, "a.example")

    def test_a_post_quantum_hello_in_records_of_one_byte(self):
        """The number of records is not limited: clients with post-quantum keys send large hellos, cut anywhere."""
        detecting = self.detect()
        self.client.say(client_hello.build("a.example", post_quantum=True, record_size=1))
        self.assertEqual(self.successResultOf(detecting).domain, "a.example")

    def test_another_record_within_a_hello_is_refused_at_once(self):
        """Application data, an alert, a change of ciphers: the client waits for an answer and sends no more."""
        for size in (30_000, 300):
            begun = client_hello.build("a.example", size=size, record_size=200)[:205]
            for kind in (0x17, 0x15, 0x14):
                self.setUp()
                detecting = self.detect()
                self.client.say(begun)
                self.client.say(bytes([kind]) + b"\x03\x03\x00\x02\x01\x00")
                self.assertIs(
                    self.failureResultOf(detecting, HandshakeRefused).value.alert, Alert.UNEXPECTED_MESSAGE
                )

    def test_each_malformed_hello_has_its_alert(self):
        for said, alert in (
            (b"\x16\x03\x01\x40\x01", Alert.RECORD_OVERFLOW),
            (b"\x16\x03\x01\x00\x00", Alert.UNEXPECTED_MESSAGE),
            (HELLO[:9] + b"\x02\x00" + HELLO[11:], Alert.PROTOCOL_VERSION),
            (HELLO[:43] + b"\xff" + HELLO[44:], Alert.DECODE_ERROR),
        ):
            self.setUp()
            detecting = self.detect()
            self.client.say(said)
            self.assertIs(self.failureResultOf(detecting, HandshakeRefused).value.alert, alert)

    def test_hello_over_the_limit_is_refused_and_not_buffered(self):
        detecting = self.detect()
        self.client.say(tls_record.wrap(tls_record.HANDSHAKE, b"\x01\xff\xff\xff" + bytes(16_000)))
        for _ in range(40):
            self.client.say(tls_record.wrap(tls_record.HANDSHAKE, bytes(16_000)))
        self.assert_refused(detecting, RejectReason.TLS_ERROR)
        self.assertLess(len(self.client.side.buffered), 200_000)

    def test_malformed_hello_is_refused(self):
        detecting = self.detect()
        self.client.say(b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00")
        self.assert_refused(detecting, RejectReason.TLS_ERROR)

    def test_fin_within_a_hello_is_refused(self):
        detecting = self.detect()
        self.client.say(HELLO[:50])
        self.client.fin()
        self.assert_refused(detecting, RejectReason.TLS_ERROR)

    def test_fin_within_a_request_is_detected_as_raw(self):
        for part in (REQUEST[:2], REQUEST[:20]):
            self.setUp()
            detecting = self.detect()
            self.client.say(part)
            self.client.fin()
            self.assertIs(self.successResultOf(detecting).protocol, ApplicationProtocol.RAW)

    def test_malformed_request_is_detected_as_raw(self):
        detecting = self.detect()
        self.client.say(b"GET /\r\nbroken\r\n\r\n")
        self.assertIs(self.successResultOf(detecting).protocol, ApplicationProtocol.RAW)

    def test_fin_before_the_first_byte_raises_peer_closed(self):
        detecting = self.detect()
        self.client.fin()
        self.failureResultOf(detecting, PeerClosed)
        self.assertEqual(len(self.client.deadlines), 0)

    def test_silent_client_is_refused_at_the_timeout(self):
        """Otherwise clients that connect and send nothing would use up memory and descriptors."""
        detecting = self.detect(timeout=60.0)
        self.client.pass_time(59.9)
        self.assertNoResult(detecting)
        self.client.pass_time(0.3)
        self.assert_refused(detecting, RejectReason.INITIAL_DATA_TIMEOUT)

    def test_slow_bytes_do_not_extend_the_timeout(self):
        """A client that sends one byte at a time (Slowloris) has no more time than a silent one."""
        for said in (HELLO, REQUEST):
            self.setUp()
            detecting = self.detect(timeout=5.0)
            for at in range(10):
                self.client.say(said[at : at + 1])
                self.client.pass_time(0.5)
            self.client.pass_time(0.2)
            self.assert_refused(detecting, RejectReason.INITIAL_DATA_TIMEOUT)

    def test_timeout_of_0_waits_without_limit(self):
        detecting = self.detect(timeout=0.0)
        self.client.pass_time(100)
        self.client.say(REQUEST)
        self.assertEqual(self.successResultOf(detecting).domain, "a.example")


class StartTlsTests(SynchronousTestCase):
    """A client may send a PostgreSQL SSLRequest first, where a route of the listener involves TLS."""

    def setUp(self):
        self.client = Client()

    def detect(self, *, timeout=60.0, answers=True):
        phase = Detect(
            timeout, self.client.deadlines, needed=True, start_tls=AnswerStartTls() if answers else None
        )
        return self.client.run(phase(self.client.side, announced()))

    def say(self, data):
        self.client.say(data)
        self.client.clock.advance(0)

    def assert_refused(self, waiting, reason):
        self.assertIs(self.failureResultOf(waiting, Refused).value.reason, reason)
        self.assertEqual(len(self.client.deadlines), 0)

    def test_hello_after_the_answer_is_detected(self):
        for requests, answers in (((SSL,), b"S"), ((GSSENC, SSL), b"NS"), ((GSSENC, GSSENC, SSL), b"NNS")):
            for size in (len(HELLO), 1):
                self.setUp()
                detecting = self.detect()
                for request in requests:
                    self.say(request)
                for at in range(0, len(HELLO), size):
                    self.say(HELLO[at : at + size])
                detected = self.successResultOf(detecting)
                self.assertEqual((detected.protocol, detected.domain), (ApplicationProtocol.TLS, "a.example"))
                self.assertTrue(detected.start_tls)
                self.assertEqual((self.client.side.buffered, self.client.far.received), (HELLO, answers))
                self.assertEqual(len(self.client.deadlines), 0)

    def test_client_without_ssl_request_is_detected_as_usual(self):
        cancel = bytes.fromhex("00000010 04d2162e 0000002a 01020304")
        for said, protocol in (
            (HELLO, ApplicationProtocol.TLS),
            (REQUEST, ApplicationProtocol.HTTP),
            (cancel, ApplicationProtocol.RAW),
        ):
            self.setUp()
            detecting = self.detect()
            self.say(said)
            detected = self.successResultOf(detecting)
            self.assertEqual((detected.protocol, detected.start_tls), (protocol, False))
            self.assertEqual((self.client.side.buffered, self.client.far.received), (said, b""))

    def test_ssl_request_is_payload_where_no_route_uses_tls(self):
        detecting = self.detect(answers=False)
        self.say(SSL)
        detected = self.successResultOf(detecting)
        self.assertEqual((detected.protocol, detected.start_tls), (ApplicationProtocol.RAW, False))
        self.assertEqual((self.client.side.buffered, self.client.far.received), (SSL, b""))

    def test_request_to_cancel_is_detected_in_any_pieces(self):
        """It is not consumed: without a target that may be meant, it is routed like other bytes."""
        for key in (b"\x01\x02\x03\x04", bytes(32)):
            cancel = postgres.build_cancel(42, key)
            for size in (1, 7, len(cancel)):
                self.setUp()
                detecting = self.detect()
                for at in range(0, len(cancel), size):
                    self.assertNoResult(detecting)
                    self.say(cancel[at : at + size])
                detected = self.successResultOf(detecting)
                self.assertEqual((detected.protocol, detected.cancel), (ApplicationProtocol.RAW, True))
                self.assertEqual((self.client.side.buffered, self.client.far.received), (cancel, b""))

    def test_request_to_cancel_with_more_bytes_is_raw(self):
        cancel = postgres.build_cancel(42, bytes(4))
        for said in (cancel + b"\x00", cancel[:4] + b"\x05", b"\x00\x01", cancel[:8] + b"..."):
            self.setUp()
            detecting = self.detect()
            self.say(said)
            if said.endswith(b"..."):
                self.assertNoResult(detecting)
                self.client.fin()
            self.assertFalse(self.successResultOf(detecting).cancel)

    def test_bytes_after_a_declined_request_are_detected(self):
        """Otherwise a client could bypass routing by first requesting GSSAPI encryption, which is always declined."""
        for said, protocol in (
            (HELLO, ApplicationProtocol.TLS),
            (REQUEST, ApplicationProtocol.HTTP),
            (b"\x00\x00\x00\x29\x00", ApplicationProtocol.RAW),
        ):
            self.setUp()
            detecting = self.detect()
            self.say(GSSENC)
            self.say(said)
            detected = self.successResultOf(detecting)
            self.assertEqual((detected.protocol, detected.start_tls), (protocol, False))
            self.assertEqual(self.client.side.buffered, said)

    def test_only_a_hello_is_accepted_after_a_granted_request(self):
        for said in (REQUEST, SSL, b"\x00\x00\x00\x29\x00\x03", b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00"):
            self.setUp()
            detecting = self.detect()
            self.say(SSL)
            self.say(said)
            self.assert_refused(detecting, RejectReason.TLS_ERROR)
            self.assertEqual(self.client.far.received, b"S")

    def test_repeated_requests_do_not_recurse(self):
        detecting = self.detect()
        for _ in range(2000):
            self.say(GSSENC)
        self.say(SSL)
        self.say(HELLO)
        self.assertTrue(self.successResultOf(detecting).start_tls)

    def test_requests_do_not_extend_the_timeout(self):
        for said in ((), (SSL,), (GSSENC, SSL), (SSL, HELLO[:50])):
            self.setUp()
            detecting = self.detect(timeout=5.0)
            for each in said:
                self.client.pass_time(1.0)
                self.say(each)
            self.client.pass_time(4.9 - len(said))
            self.assertNoResult(detecting)
            self.client.pass_time(0.3)
            self.assert_refused(detecting, RejectReason.INITIAL_DATA_TIMEOUT)

    def test_fin_instead_of_a_hello_raises_peer_closed(self):
        detecting = self.detect()
        self.say(SSL)
        self.client.fin()
        self.failureResultOf(detecting, PeerClosed)
        self.assertEqual(len(self.client.deadlines), 0)

    def test_bytes_sent_before_the_answer_are_refused(self):
        detecting = self.detect()
        self.say(SSL + HELLO)
        self.assert_refused(detecting, RejectReason.TLS_ERROR)
        self.assertEqual(self.client.far.received, b"")
