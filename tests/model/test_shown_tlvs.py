"""TLVs as the access log and the API show them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.model.shown_tlvs import LONGEST, MOST, shown_tlvs
from smartproxy.wire import proxy_tlv
from smartproxy.wire.proxy_header import ProxyHeader, Tlv
from smartproxy.wire.proxy_tlv import SslClient, SslInfo


def shown(*tlvs):
    return shown_tlvs(ProxyHeader(2, tlvs=tlvs))


class ShownTlvsTests(SynchronousTestCase):
    def test_values_have_the_name_of_their_type(self):
        self.assertEqual(
            shown(Tlv(2, b"a.example"), Tlv(5, b"id-1"), Tlv(0xEA, b"\x01vpce-1\xff\\")),
            {"authority": "a.example", "uniqueId": "id-1", "0xEA": r"\x01vpce-1\xff\\"},
        )

    def test_without_tlvs_there_is_nothing(self):
        for header in (None, ProxyHeader(1), ProxyHeader(2)):
            self.assertIsNone(shown_tlvs(header))
        self.assertIsNone(shown(Tlv(proxy_tlv.PP2_TYPE_CRC32C, b"abcd"), Tlv(proxy_tlv.PP2_TYPE_NOOP, b"")))

    def test_values_of_one_type_are_joined(self):
        self.assertEqual(shown(Tlv(0xE0, b"a"), Tlv(0xE0, b"b")), {"0xE0": "a,b"})

    def test_ssl_is_shown_by_its_parts(self):
        info = SslInfo(SslClient.SSL, 0, version=b"TLSv1.3", cn=b"a\nb", cipher=b"X")
        value = proxy_tlv.build_ssl(info)
        self.assertEqual(
            shown(Tlv(0x20, value)), {"ssl": r"client=1 verify=0 version=TLSv1.3 cipher=X cn=a\nb"}
        )
        self.assertEqual(shown(Tlv(0x20, b"\x01")), {"ssl": r"\x01"})

    @given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=400)), max_size=20))
    def test_it_is_bounded_and_printable(self, tlvs):
        """A client may choose the values, for example with its SNI."""
        found = shown(*(Tlv(kind, value) for kind, value in tlvs)) or {}
        self.assertLessEqual(len(found), MOST)
        for text in found.values():
            self.assertTrue(text.isascii() and (text.isprintable() or not text))
            self.assertLessEqual(len(text), MOST * (4 * 3 * LONGEST + 80))
