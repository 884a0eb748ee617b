"""What does the client speak, and whom does it ask for? (F1, F2, F18)"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import Refused
from smartproxy.flow.side import Ended
from smartproxy.model.facts import Protocol
from smartproxy.model.outcome import RejectReason
from smartproxy.phases.detect import Detect
from smartproxy.wire import client_hello, tls_record
from tests.phases.made import Client, announced

REQUEST = b"GET /path HTTP/1.1\r\nHost: a.example\r\n\r\n"
HELLO = client_hello.build("a.example")


class DetectTests(SynchronousTestCase):
    def setUp(self):
        self.client = Client()

    def detect(self, *, timeout=60.0, needed=True):
        phase = Detect(timeout, self.client.deadlines, needed=needed)
        return self.client.run(phase(self.client.side, announced()))

    def assert_refused(self, waiting, reason):
        self.assertIs(self.failureResultOf(waiting, Refused).value.reason, reason)
        self.assertEqual(len(self.client.deadlines), 0)

    def test_where_nobody_needs_it_nobody_waits(self):
        detected = self.successResultOf(self.detect(needed=False))
        self.assertEqual((detected.protocol, detected.domain), (Protocol.UNSEEN, None))
        self.assertEqual(len(self.client.deadlines), 0)

    def test_what_it_sees_stays_where_it_is(self):
        for said, protocol, domain in (
            (HELLO, Protocol.TLS, "a.example"),
            (REQUEST, Protocol.HTTP, "a.example"),
            (b"SSH-2.0-x\r\n", Protocol.RAW, None),
        ):
            for together in (True, False):
                self.setUp()
                detecting = self.detect()
                for piece in [said] if together else [said[at : at + 1] for at in range(len(said))]:
                    self.client.say(piece)
                detected = self.successResultOf(detecting)
                self.assertEqual((detected.protocol, detected.domain), (protocol, domain))
                self.assertEqual(self.client.side.held, said)
                self.assertEqual(len(self.client.deadlines), 0)

    def test_a_hello_over_several_records_with_the_name_cut(self):
        """F18."""
        for size in (1, 7, 40):
            self.setUp()
            detecting = self.detect()
            self.client.say(client_hello.build("a.example", record_size=size))
            self.assertEqual(self.successResultOf(detecting).domain, "a.example")

    def test_a_large_hello_is_seen_whole(self):
        """F18: more than the transport's window, and nearly what may be held."""
        detecting = self.detect()
        self.client.say(client_hello.build("a.example", size=60_000))
        self.client.clock.advance(0)
        self.assertEqual(self.successResultOf(detecting).domain, "a.example")

    def test_a_hello_over_the_cap_is_refused_and_not_held(self):
        detecting = self.detect()
        self.client.say(tls_record.wrap(tls_record.HANDSHAKE, b"\x01\xff\xff\xff" + bytes(16_000)))
        for _ in range(40):
            self.client.say(tls_record.wrap(tls_record.HANDSHAKE, bytes(16_000)))
        self.assert_refused(detecting, RejectReason.TLS_ERROR)
        self.assertLess(len(self.client.side.held), 200_000)

    def test_tls_that_is_none_is_refused(self):
        detecting = self.detect()
        self.client.say(b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00")
        self.assert_refused(detecting, RejectReason.TLS_ERROR)

    def test_an_end_within_a_hello_is_refused(self):
        detecting = self.detect()
        self.client.say(HELLO[:50])
        self.client.fin()
        self.assert_refused(detecting, RejectReason.TLS_ERROR)

    def test_an_end_within_a_request_leaves_it_raw(self):
        for part in (REQUEST[:2], REQUEST[:20]):
            self.setUp()
            detecting = self.detect()
            self.client.say(part)
            self.client.fin()
            self.assertIs(self.successResultOf(detecting).protocol, Protocol.RAW)

    def test_a_request_that_is_none_is_raw(self):
        detecting = self.detect()
        self.client.say(b"GET /\r\nbroken\r\n\r\n")
        self.assertIs(self.successResultOf(detecting).protocol, Protocol.RAW)

    def test_who_leaves_without_a_byte_has_left(self):
        detecting = self.detect()
        self.client.fin()
        self.failureResultOf(detecting, Ended)
        self.assertEqual(len(self.client.deadlines), 0)

    def test_silence_is_refused_when_the_time_is_over(self):
        """F1."""
        detecting = self.detect(timeout=60.0)
        self.client.pass_time(59.9)
        self.assertNoResult(detecting)
        self.client.pass_time(0.3)
        self.assert_refused(detecting, RejectReason.INITIAL_DATA_TIMEOUT)

    def test_a_byte_now_and_then_does_not_extend_the_time(self):
        """F2."""
        for said in (HELLO, REQUEST):
            self.setUp()
            detecting = self.detect(timeout=5.0)
            for at in range(10):
                self.client.say(said[at : at + 1])
                self.client.pass_time(0.5)
            self.client.pass_time(0.2)
            self.assert_refused(detecting, RejectReason.INITIAL_DATA_TIMEOUT)

    def test_without_a_timeout_it_waits(self):
        detecting = self.detect(timeout=0.0)
        self.client.pass_time(100)
        self.client.say(REQUEST)
        self.assertEqual(self.successResultOf(detecting).domain, "a.example")
