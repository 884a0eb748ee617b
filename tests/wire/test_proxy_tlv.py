from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.wire import proxy_tlv
from smartproxy.wire.proxy_header import Tlv
from smartproxy.wire.proxy_tlv import SslClient, SslInfo, build_ssl, crc32c, parse_ssl
from smartproxy.wire.verdict import Malformed
from tests.wire.ways import PROPERTY

TLVS = st.builds(Tlv, st.integers(0, 255), st.binary(max_size=300))
MAYBE = st.none() | st.binary(max_size=40)


class Crc32cTests(SynchronousTestCase):
    def test_crc32c_gives_the_vectors_of_rfc_3720(self):
        read_command = bytes.fromhex(
            "01c000000000000000000000000000001400000000000400000000140000001828000000000000000200000000000000"
        )
        for data, checksum in [
            (bytes(32), 0x8A9136AA),
            (b"\xff" * 32, 0x62A8AB43),
            (bytes(range(32)), 0x46DD794E),
            (bytes(range(31, -1, -1)), 0x113FDB5C),
            (read_command, 0xD9963A56),
        ]:
            self.assertEqual(crc32c(data), checksum)

    def test_crc32c_of_no_bytes_is_zero(self):
        self.assertEqual(crc32c(b""), 0)


class TlvTests(SynchronousTestCase):
    def test_a_truncated_tlv_is_malformed(self):
        data = proxy_tlv.build_tlvs([Tlv(1, b"h2"), Tlv(0xE0, b"a\x00b")])
        self.assertEqual(proxy_tlv.parse_tlvs(data[:5]), (Tlv(1, b"h2"),))
        for cut in [*range(1, 5), *range(6, len(data))]:
            self.assertIsInstance(proxy_tlv.parse_tlvs(data[:cut]), Malformed, cut)

    def test_a_value_that_does_not_fit_raises_value_error(self):
        self.assertRaises(ValueError, proxy_tlv.build_tlvs, [Tlv(256, b"")])
        self.assertRaises(ValueError, proxy_tlv.build_tlvs, [Tlv(1, bytes(65536))])

    def test_every_type_of_the_specification_has_a_constant(self):
        numbers = [number for name, number in vars(proxy_tlv).items() if name.startswith("PP2_")]
        self.assertEqual(
            sorted(numbers), [1, 2, 3, 4, 5, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x30, 0xE0, 0xEF]
        )

    @PROPERTY
    @given(st.lists(TLVS, max_size=6))
    def test_what_was_built_is_parsed_back(self, tlvs):
        self.assertEqual(proxy_tlv.parse_tlvs(proxy_tlv.build_tlvs(tlvs)), tuple(tlvs))


class SslTests(SynchronousTestCase):
    def test_the_ssl_value_of_haproxy_is_parsed(self):
        value = bytes.fromhex("0700000000210007") + b"TLSv1.3" + b"\x22\x00\x05robot" + b"\xee\x00\x01?"
        expected = SslInfo(
            SslClient.SSL | SslClient.CERT_CONN | SslClient.CERT_SESS,
            0,
            version=b"TLSv1.3",
            cn=b"robot",
            others=(Tlv(0xEE, b"?"),),
        )
        self.assertEqual(parse_ssl(value), expected)
        self.assertEqual(build_ssl(expected), value)

    def test_a_malformed_ssl_value_is_refused(self):
        for value in [
            b"",
            b"\x01\x00\x00\x00",
            b"\x01\x00\x00\x00\x00\x21",
            b"\x01\x00\x00\x00\x00\x21\x00\x02x",
        ]:
            self.assertIsInstance(parse_ssl(value), Malformed, value)
        twice = bytes(5) + b"\x22\x00\x01a\x22\x00\x01b"
        self.assertIsInstance(parse_ssl(twice), Malformed)

    def test_a_value_that_does_not_fit_raises_value_error(self):
        self.assertRaises(ValueError, build_ssl, SslInfo(SslClient(1), -1))

    @PROPERTY
    @given(
        st.integers(0, 255),
        st.integers(0, 2**32 - 1),
        st.tuples(MAYBE, MAYBE, MAYBE, MAYBE, MAYBE),
        st.lists(TLVS),
    )
    def test_what_was_built_is_parsed_back(self, client, verify, fields, others):
        strange = tuple(tlv for tlv in others if not 0x21 <= tlv.type <= 0x25)
        info = SslInfo(SslClient(client), verify, *fields, others=strange)
        self.assertEqual(parse_ssl(build_ssl(info)), info)

    @PROPERTY
    @given(st.binary(max_size=60))
    def test_arbitrary_bytes_never_raise(self, value):
        self.assertIsInstance(parse_ssl(value), SslInfo | Malformed)


class NameTests(SynchronousTestCase):
    def test_every_type_has_a_name_that_denotes_it(self):
        for kind in range(256):
            self.assertEqual(proxy_tlv.type_of(proxy_tlv.name_of(kind)), kind)
            self.assertEqual(proxy_tlv.type_of(f"0x{kind:x}"), kind)

    def test_other_names_are_refused(self):
        for name in ("", "sni", "224", "0x", "0x100", "0xG0", "Authority", " 0xE0", "0xE0\n"):
            self.assertRaises(ValueError, proxy_tlv.type_of, name)

    @given(st.binary(max_size=64))
    def test_text_of_a_value_is_printable_and_reversible(self, value):
        text = proxy_tlv.text_of(value)
        self.assertTrue(text.isascii() and (text.isprintable() or not text))
        self.assertEqual(text.encode().decode("unicode_escape").encode("latin-1"), value)
