from hypothesis import given
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.wire import proxy_detect, proxy_v1, proxy_v2
from smartproxy.wire.proxy_header import Tlv
from smartproxy.wire.verdict import Done, Malformed, NeedMore
from tests.wire.ways import PROPERTY, check, check_refused, check_sound, damaged

CLIENT, SERVER = ("192.0.2.1", 56324), ("198.51.100.2", 443)
V1 = proxy_v1.build(CLIENT, SERVER)
V2 = proxy_v2.build(CLIENT, SERVER, tlvs=[Tlv(1, b"h2")], crc32c=True)


def parse(data):
    return proxy_detect.parse(data)


class DetectTests(SynchronousTestCase):
    def test_both_versions_are_detected_at_every_cut(self):
        check(self, parse, V1, proxy_v1.parse(V1).value)
        check(self, parse, V2, proxy_v2.parse(V2).value)

    def test_the_first_byte_of_no_signature_makes_it_payload(self):
        for data in [
            b"G",
            b"PO",
            b"PROXYX",
            b"\x16",
            b"\r\r",
            b"\r\n\r\n\x01",
            b"SSH-2.0",
            b"\x00",
            b"proxy",
        ]:
            self.assertEqual(parse(data), Done(None, 0), data)
            self.assertIsInstance(parse(data[:-1]), NeedMore | Done, data)

    def test_part_of_a_signature_needs_more_bytes(self):
        for signature in (proxy_v1.SIGNATURE, proxy_v2.SIGNATURE):
            for cut in range(len(signature)):
                self.assertEqual(parse(signature[:cut]), NeedMore(cut + 1))

    def test_the_signature_alone_begins_a_header(self):
        """Whatever follows it: a header that is refused as late need not be a correct one."""
        for signature in (proxy_v1.SIGNATURE, proxy_v2.SIGNATURE):
            for cut in range(len(signature)):
                self.assertIsNone(proxy_detect.begins_header(signature[:cut]))
                self.assertIs(proxy_detect.begins_header(signature[:cut] + b"~"), False)
            for more in (b"", b"~", bytes(5000)):
                self.assertIs(proxy_detect.begins_header(signature + more), True)

    def test_a_malformed_header_is_not_payload(self):
        """Forwarded as payload it would tell a backend that trusts the proxy a client address of anybody's choice."""
        check_refused(self, parse, b"PROXY nonsense\r\n")
        check_refused(self, parse, proxy_v2.SIGNATURE + b"\x11\x11\x00\x00")

    def test_a_second_header_is_not_consumed(self):
        """It is payload: only the first header is that of the trusted peer."""
        for first in (V1, V2):
            for second in (V1, V2):
                self.assertEqual(parse(first + second).consumed, len(first))

    @PROPERTY
    @given(damaged(V1, V2, b"GET / HTTP/1.1\r\n\r\n"))
    def test_arbitrary_bytes_never_raise(self, data):
        check_sound(self, parse, data)

    def test_malformed_and_none_are_different_verdicts(self):
        self.assertIsInstance(parse(V2[:-1] + b"\x00"), Malformed)
