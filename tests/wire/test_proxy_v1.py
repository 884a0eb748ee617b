from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.wire import proxy_v1
from smartproxy.wire.proxy_header import AddressFamily, ProxyHeader
from smartproxy.wire.verdict import Done, Malformed, NeedMore
from tests.wire.ways import PROPERTY, check, check_refused, check_sound, damaged

WORST = b"PROXY UNKNOWN " + b" ".join([b"ffff:" * 7 + b"ffff"] * 2) + b" 65535 65535\r\n"

ENDS = st.tuples(st.ip_addresses().map(str), st.integers(0, 65535))


def parse(data):
    return proxy_v1.parse(data)


class ParseTests(SynchronousTestCase):
    def test_a_tcp4_line_is_parsed(self):
        header = ProxyHeader(1, False, AddressFamily.TCP4, ("192.0.2.1", 56324), ("198.51.100.2", 443))
        check(self, parse, b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", header)

    def test_addresses_of_a_tcp6_line_are_normalised(self):
        header = ProxyHeader(1, False, AddressFamily.TCP6, ("2001:db8::1", 0), ("::1", 65535))
        check(self, parse, b"PROXY TCP6 2001:DB8:0:0:0:0:0:1 ::1 0 65535\r\n", header)

    def test_a_mapped_address_becomes_ipv4(self):
        """Otherwise lists and limits for the IPv4 address would not apply."""
        header = ProxyHeader(1, False, AddressFamily.TCP6, ("192.0.2.1", 1), ("198.51.100.2", 2))
        check(self, parse, b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c633:6402 1 2\r\n", header)

    def test_unknown_announces_no_address(self):
        check(self, parse, b"PROXY UNKNOWN\r\n", ProxyHeader(1))
        check(self, parse, b"PROXY UNKNOWN \x00\xff rubbish 99999\r\n", ProxyHeader(1))

    def test_a_line_of_107_bytes_is_accepted(self):
        self.assertEqual(len(WORST), proxy_v1.LIMIT)
        check(self, parse, WORST, ProxyHeader(1))
        check_refused(self, parse, WORST.replace(b" 65535\r", b" 655350\r"))

    def test_a_line_over_107_bytes_is_refused_before_its_end(self):
        line = b"PROXY UNKNOWN " + b"x" * 91
        self.assertEqual(parse(line), NeedMore(107))
        self.assertIsInstance(parse(line + b"x"), Malformed)
        self.assertEqual(parse(line + b"\r"), NeedMore(107))

    def test_a_second_header_is_not_consumed(self):
        line = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"
        self.assertEqual(parse(line + line).consumed, len(line))

    def test_a_line_against_the_grammar_is_refused(self):
        """The address decides on lists and limits, so there must be one way to read it."""
        for line in [
            "PROXY TCP4 192.0.2.01 198.51.100.2 1 2",  # leading zeros
            "PROXY TCP4 192.0.2.1 198.51.100.2 01 2",
            "PROXY TCP4 192.0.2.1 198.51.100.2 00 2",
            "PROXY TCP4 192.0.2.1 198.51.100.2 65536 2",  # ports
            "PROXY TCP4 192.0.2.1 198.51.100.2 1 100000",
            "PROXY TCP4 192.0.2.1 198.51.100.2 -1 2",
            "PROXY TCP4 192.0.2.1 198.51.100.2 +1 2",
            "PROXY TCP4 192.0.2.1 198.51.100.2 1",  # too few, too many
            "PROXY TCP4 192.0.2.1 198.51.100.2 1 2 3",
            "PROXY TCP4 192.0.2.1 198.51.100.2 1 2 ",  # blanks
            "PROXY TCP4  192.0.2.1 198.51.100.2 1 2",
            "PROXY TCP4 192.0.2.1\t198.51.100.2 1 2",
            "PROXY  TCP4 192.0.2.1 198.51.100.2 1 2",
            "PROXY TCP4 192.0.2 198.51.100.2 1 2",  # addresses
            "PROXY TCP4 192.0.2.256 198.51.100.2 1 2",
            "PROXY TCP4 0x7f.0.0.1 198.51.100.2 1 2",
            "PROXY TCP4 ::1 ::1 1 2",
            "PROXY TCP6 192.0.2.1 198.51.100.2 1 2",
            "PROXY TCP6 ::1 198.51.100.2 1 2",
            "PROXY TCP6 192.0.2.1 ::1 1 2",
            "PROXY TCP6 fe80::1%eth0 ::1 1 2",
            "PROXY TCP6 [::1] ::1 1 2",
            "PROXY TCP6 1::2::3 ::1 1 2",
            "PROXY UNKNOWNX",  # words
            "PROXY UDP4 192.0.2.1 198.51.100.2 1 2",
            "PROXY tcp4 192.0.2.1 198.51.100.2 1 2",
            "proxy TCP4 192.0.2.1 198.51.100.2 1 2",
            "PROXY",
            "PROXY ",
            "PROXY TCP4",
        ]:
            check_refused(self, parse, line.encode() + b"\r\n")

    def test_cr_or_lf_alone_is_refused(self):
        for line in [
            b"PROXY UNKNOWN\n",
            b"PROXY UNKNOWN\rX",
            b"PROXY UNKNOWN a\rb\r\n",
            b"PROXY UNKNOWN a\nb\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2\r\r\n",
        ]:
            check_refused(self, parse, line)

    @PROPERTY
    @given(damaged(WORST, b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", b"PROXY TCP6 ::1 ::2 1 2\r\n"))
    def test_arbitrary_bytes_never_raise(self, data):
        check_sound(self, parse, data)


class BuildTests(SynchronousTestCase):
    def test_without_one_end_unknown_is_built(self):
        self.assertEqual(proxy_v1.build(None, ("::1", 1)), b"PROXY UNKNOWN\r\n")
        self.assertEqual(proxy_v1.build(("::1", 1), None), b"PROXY UNKNOWN\r\n")

    def test_mixed_families_are_built_as_tcp6(self):
        line = proxy_v1.build(("192.0.2.1", 1), ("2001:db8::1", 2))
        self.assertEqual(line, b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 1 2\r\n")
        line = proxy_v1.build(("2001:db8::1", 2), ("192.0.2.1", 1))
        self.assertEqual(line, b"PROXY TCP6 2001:db8::1 ::ffff:192.0.2.1 2 1\r\n")

    def test_a_zone_is_left_out(self):
        self.assertEqual(proxy_v1.build(("fe80::1%eth0", 1), ("::1", 2)), b"PROXY TCP6 fe80::1 ::1 1 2\r\n")

    def test_invalid_ends_raise_value_error(self):
        for source in [("localhost", 1), ("192.0.2.1", 65536), ("192.0.2.1", -1), ("192.0.2.1\r\n", 1)]:
            self.assertRaises(ValueError, proxy_v1.build, source, ("192.0.2.1", 1))

    @PROPERTY
    @given(ENDS, ENDS)
    def test_what_was_built_is_parsed_back(self, source, destination):
        line = proxy_v1.build(source, destination)
        verdict = parse(line)
        self.assertIsInstance(verdict, Done)
        self.assertEqual(verdict.consumed, len(line))
        again = proxy_v1.build(verdict.value.source, verdict.value.destination)
        self.assertEqual(again, line)
        self.assertEqual((verdict.value.source[1], verdict.value.destination[1]), (source[1], destination[1]))
