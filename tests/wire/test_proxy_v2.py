from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.wire import proxy_v2
from smartproxy.wire.proxy_header import AddressFamily, ProxyHeader, Tlv
from smartproxy.wire.proxy_tlv import crc32c
from smartproxy.wire.verdict import Done, Malformed, NeedMore
from tests.wire.ways import PROPERTY, check, check_refused, check_sound, damaged

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
IPV4 = bytes.fromhex("c0000201 c6336402 dc04 01bb")
CLIENT, SERVER = ("192.0.2.1", 56324), ("198.51.100.2", 443)
SIX = ("2001:db8::1", 56324), ("2001:db8::2", 443)

ENDS = st.tuples(st.ip_addresses().map(str), st.integers(0, 65535))
TLVS = st.builds(Tlv, st.sampled_from([1, 2, 4, 0x20, 0x30, 0xE0, 0xFF]), st.binary(max_size=64))


def parse(data):
    return proxy_v2.parse(data)


def raw(command, family, block, *, length=None):
    size = len(block) if length is None else length
    return SIGNATURE + bytes([command, family]) + size.to_bytes(2, "big") + block


class ParseTests(SynchronousTestCase):
    def test_the_header_of_haproxy_is_parsed(self):
        """Recorded bytes, so that the parser is not only tested against the builder."""
        data = bytes.fromhex("0d0a0d0a000d0a515549540a 21 11 000c ac130001 ac130003 a652 0050")
        header = ProxyHeader(2, False, AddressFamily.TCP4, ("172.19.0.1", 42578), ("172.19.0.3", 80))
        check(self, parse, data, header)

    def test_every_ip_family_is_parsed(self):
        block = bytes.fromhex("20010db8000000000000000000000001 00000000000000000000000000000001 0050 ffff")
        six = ("2001:db8::1", 80), ("::1", 65535)
        check(self, parse, raw(0x21, 0x11, IPV4), ProxyHeader(2, False, AddressFamily.TCP4, CLIENT, SERVER))
        check(self, parse, raw(0x21, 0x12, IPV4), ProxyHeader(2, False, AddressFamily.UDP4, CLIENT, SERVER))
        check(self, parse, raw(0x21, 0x21, block), ProxyHeader(2, False, AddressFamily.TCP6, *six))
        check(self, parse, raw(0x21, 0x22, block), ProxyHeader(2, False, AddressFamily.UDP6, *six))

    def test_a_unix_family_gives_paths_and_no_addresses(self):
        block = b"/run/a.sock".ljust(108, b"\x00") + b"\x00abstract".ljust(108, b"\x00")
        for code, family in [(0x31, AddressFamily.UNIX_STREAM), (0x32, AddressFamily.UNIX_DGRAM)]:
            header = ProxyHeader(2, False, family, None, None, (), b"/run/a.sock", b"\x00abstract")
            check(self, parse, raw(0x21, code, block), header)

    def test_unspec_gives_tlvs_and_no_addresses(self):
        header = ProxyHeader(2, False, AddressFamily.UNSPEC, None, None, (Tlv(5, b"id"),))
        check(self, parse, raw(0x21, 0x00, b"\x05\x00\x02id"), header)

    def test_local_ignores_addresses_and_tlvs(self):
        """A health check speaks for its sender, whatever addresses it carries (section 2.2)."""
        local = ProxyHeader(2, local=True)
        check(self, parse, raw(0x20, 0x00, b""), local)
        check(self, parse, raw(0x20, 0x11, IPV4), local)
        check(self, parse, raw(0x20, 0xFF, b"rubbish"), local)
        self.assertIsInstance(parse(raw(0x20, 0x00, b"", length=4097)), Malformed)

    def test_a_mapped_address_becomes_ipv4(self):
        """Otherwise lists and limits for the IPv4 address would not apply."""
        wide = bytes(10) + b"\xff\xff"
        data = raw(0x21, 0x21, wide + IPV4[:4] + wide + IPV4[4:8] + IPV4[8:])
        check(self, parse, data, ProxyHeader(2, False, AddressFamily.TCP6, CLIENT, SERVER))

    def test_tlvs_are_kept_unchanged_and_in_order(self):
        tlvs = (Tlv(0xE4, b"a\x00b"), Tlv(4, b""), Tlv(1, b"h2"), Tlv(0xE4, b"a\x00b"), Tlv(2, b"\xff" * 300))
        data = proxy_v2.build(CLIENT, SERVER, tlvs=tlvs)
        check(self, parse, data, ProxyHeader(2, False, AddressFamily.TCP4, CLIENT, SERVER, tlvs))

    def test_a_second_header_is_not_consumed(self):
        data = raw(0x21, 0x11, IPV4)
        self.assertEqual(parse(data + data).consumed, len(data))

    def test_need_more_names_the_exact_length(self):
        """So the parser runs twice for a header in pieces, not once for each piece."""
        self.assertEqual(parse(b""), NeedMore(16))
        self.assertEqual(parse(raw(0x21, 0x11, b"", length=4096)), NeedMore(16 + 4096))

    def test_a_length_over_4096_is_refused(self):
        """So no peer can make the proxy buffer more."""
        full = (Tlv(0xE0, bytes(4096 - 12 - 3)),)
        data = proxy_v2.build(CLIENT, SERVER, tlvs=full)
        self.assertEqual(
            parse(data), Done(ProxyHeader(2, False, AddressFamily.TCP4, CLIENT, SERVER, full), 16 + 4096)
        )
        self.assertIsInstance(parse(raw(0x21, 0x11, b"", length=4097)), Malformed)

    def test_a_header_against_the_format_is_refused(self):
        for data in [
            raw(0x11, 0x11, IPV4),  # version, command
            raw(0x31, 0x11, IPV4),
            raw(0x22, 0x11, IPV4),
            raw(0x2F, 0x11, IPV4),
            raw(0x21, 0x01, IPV4),  # family, transport
            raw(0x21, 0x10, IPV4),
            raw(0x21, 0x13, IPV4),
            raw(0x21, 0x41, IPV4),
            raw(0x21, 0x11, IPV4[:-1]),  # addresses
            raw(0x21, 0x21, IPV4),
            raw(0x21, 0x31, bytes(215)),
            raw(0x21, 0x11, IPV4 + b"\x04"),  # TLVs
            raw(0x21, 0x11, IPV4 + b"\x04\x00"),
            raw(0x21, 0x11, IPV4 + b"\x04\x00\x01"),
            raw(0x21, 0x11, IPV4 + b"\x05\x00\x81" + bytes(129)),
            SIGNATURE[:-1] + b"\x0b" + bytes(4),
        ]:
            check_refused(self, parse, data)

    def test_a_wrong_beginning_is_refused_at_once(self):
        self.assertIsInstance(parse(SIGNATURE + b"\x11"), Malformed)
        self.assertIsInstance(parse(b"\r\n\r\n\x01"), Malformed)
        self.assertEqual(parse(SIGNATURE + b"\x21"), NeedMore(16))

    def test_a_unique_id_over_128_bytes_is_refused(self):
        tlvs = (Tlv(5, b"\x00" * 128),)
        self.assertEqual(parse(proxy_v2.build(CLIENT, SERVER, tlvs=tlvs)).value.tlvs, tlvs)

    @PROPERTY
    @given(
        damaged(
            proxy_v2.build(CLIENT, SERVER, tlvs=[Tlv(2, b"a.example")], crc32c=True),
            proxy_v2.build(*SIX, tlvs=[Tlv(5, b"id"), Tlv(1, b"h2")]),
            proxy_v2.build(b"/a", b"/b"),
            proxy_v2.build(None, None, local=True),
        )
    )
    def test_arbitrary_bytes_never_raise(self, data):
        check_sound(self, parse, data)


class ChecksumTests(SynchronousTestCase):
    # The sum was worked out bit by bit, apart from the table.
    SUMMED = raw(0x21, 0x11, IPV4 + b"\x03\x00\x04" + bytes.fromhex("20ec9549"))

    def test_a_right_checksum_is_accepted_and_kept(self):
        tlvs = (Tlv(3, bytes.fromhex("20ec9549")),)
        check(self, parse, self.SUMMED, ProxyHeader(2, False, AddressFamily.TCP4, CLIENT, SERVER, tlvs))

    def test_a_built_checksum_is_right(self):
        self.assertEqual(proxy_v2.build(CLIENT, SERVER, crc32c=True), self.SUMMED)

    def test_any_changed_bit_makes_the_checksum_wrong(self):
        for place in range(16, len(self.SUMMED)):
            data = bytearray(self.SUMMED)
            data[place] ^= 0x10
            self.assertIsInstance(
                parse(data), Malformed if place not in {28, 29, 30} else Malformed | Done, place
            )

    def test_the_checksum_may_be_anywhere_among_the_tlvs(self):
        data = bytearray(proxy_v2.build(CLIENT, SERVER, tlvs=[Tlv(4, b"\x00" * 9)], crc32c=True))
        self.assertIsInstance(parse(data), Done)
        data[-8] ^= 1
        self.assertEqual(check_refused(self, parse, bytes(data)), "wrong CRC32c")

    def test_two_checksums_or_one_of_another_size_are_refused(self):
        field = self.SUMMED[28:]
        check_refused(self, parse, raw(0x21, 0x11, IPV4 + field + field))
        twice = raw(0x21, 0x11, IPV4 + field + b"\x03\x00\x04" + bytes(4))
        right = twice[:-4] + crc32c(twice).to_bytes(4, "big")
        check_refused(self, parse, right)
        check_refused(self, parse, raw(0x21, 0x11, IPV4 + b"\x03\x00\x03" + bytes(3)))
        check_refused(self, parse, raw(0x21, 0x11, IPV4 + b"\x03\x00\x05" + bytes(5)))

    def test_a_received_checksum_is_not_forwarded(self):
        """It covers the received header, and would be wrong in another one."""
        received = (Tlv(2, b"a.example"), Tlv(3, b"\x01\x02\x03\x04"))
        data = proxy_v2.build(CLIENT, SERVER, tlvs=received)
        self.assertEqual(parse(data).value.tlvs, received[:1])
        again = parse(proxy_v2.build(CLIENT, SERVER, tlvs=received, crc32c=True))
        self.assertEqual([tlv.type for tlv in again.value.tlvs], [2, 3])


class BuildTests(SynchronousTestCase):
    def test_local_and_unspec_are_built(self):
        self.assertEqual(proxy_v2.build(CLIENT, SERVER, local=True), raw(0x20, 0x00, b""))
        self.assertEqual(proxy_v2.build(None, SERVER), raw(0x21, 0x00, b""))
        self.assertEqual(proxy_v2.build(CLIENT, None, datagram=True), raw(0x21, 0x00, b""))

    def test_datagram_families_are_built(self):
        self.assertIs(parse(proxy_v2.build(CLIENT, SERVER, datagram=True)).value.family, AddressFamily.UDP4)
        self.assertIs(parse(proxy_v2.build(*SIX, datagram=True)).value.family, AddressFamily.UDP6)
        self.assertIs(parse(proxy_v2.build(b"a", b"b", datagram=True)).value.family, AddressFamily.UNIX_DGRAM)

    def test_unix_paths_are_built(self):
        header = parse(proxy_v2.build(b"/run/a", b"x" * 108)).value
        self.assertEqual((header.source_path, header.destination_path), (b"/run/a", b"x" * 108))

    def test_invalid_ends_raise_value_error(self):
        for source, destination in [
            (("localhost", 1), SERVER),
            (("192.0.2.1", 65536), SERVER),
            (("192.0.2.1", -1), SERVER),
            (b"/run/a", SERVER),
            (CLIENT, b"/run/a"),
            (b"x" * 109, b"/run/a"),
        ]:
            self.assertRaises(ValueError, proxy_v2.build, source, destination)
        self.assertRaises(ValueError, proxy_v2.build, CLIENT, SERVER, tlvs=[Tlv(1, bytes(40_000))] * 2)

    @PROPERTY
    @given(ENDS, ENDS, st.lists(TLVS, max_size=5), st.booleans())
    def test_what_was_built_is_parsed_back(self, source, destination, tlvs, summed):
        data = proxy_v2.build(source, destination, tlvs=tlvs, crc32c=summed)
        verdict = parse(data)
        self.assertIsInstance(verdict, Done)
        header = verdict.value
        self.assertEqual(verdict.consumed, len(data))
        self.assertEqual(header.tlvs[: len(tlvs)], tuple(tlvs))
        self.assertEqual((header.source[1], header.destination[1]), (source[1], destination[1]))
        again = proxy_v2.build(header.source, header.destination, tlvs=header.tlvs, crc32c=summed)
        self.assertEqual(again, data)
