import socket

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.wire import host


class AddressTests(SynchronousTestCase):
    def test_every_spelling_is_normalised_to_one(self):
        for text, spelling in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("::FFFF:c000:0201", "192.0.2.1"),
            ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
            ("::", "::"),
            ("fe80::1%eth0", "fe80::1"),
        ]:
            self.assertEqual(host.normalise_address(text), spelling)
        self.assertEqual(host.address_text(bytes(10) + b"\xff\xff\xc0\x00\x02\x01"), "192.0.2.1")

    def test_a_wildcard_overlaps_its_family_and_that_of_ipv6_both(self):
        """As bind(2) refuses them on one port."""
        for one, other, overlap in [
            ("", "", True), ("", "127.0.0.1", True), ("", "::1", True), ("::", "127.0.0.1", True), ("::", "::1", True),
            ("::", "0.0.0.0", True), ("0.0.0.0", "127.0.0.1", True), ("0.0.0.0", "::1", False),
            ("127.0.0.1", "127.0.0.2", False), ("127.0.0.1", "::1", False), ("::ffff:127.0.0.1", "127.0.0.1", True),
        ]:  # fmt: skip
            self.assertEqual(host.addresses_overlap(one, other), overlap, (one, other))
            self.assertEqual(host.addresses_overlap(other, one), overlap, (other, one))

    def test_a_mapped_address_is_packed_as_ipv4(self):
        self.assertEqual(host.packed_address("::ffff:192.0.2.1"), b"\xc0\x00\x02\x01")

    def test_other_text_is_not_an_address(self):
        for text in [
            "", "192.0.2", "192.0.2.01", "192.0.2.256", "1.2.3.4 ", "1:2", "a:b", "x", "1\x00", "::g", "\xe9", "\ud800",
        ]:  # fmt: skip
            self.assertRaises(ValueError, host.packed_address, text)
            self.assertRaises(ValueError, host.normalise_address, text)
            self.assertFalse(host.is_address(text))

    def test_an_address_with_a_zone_is_not_an_address(self):
        """A zone names an interface of this host, so it is refused where somebody writes an address."""
        self.assertFalse(host.is_address("fe80::1%eth0"))
        self.assertTrue(host.is_address("fe80::1"))

    def test_text_of_the_kernel_only_loses_its_zone_and_mapping(self):
        for text, plain in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("::ffff:1:2", "::ffff:1:2"),
            ("fe80::1%eth0", "fe80::1"),
        ]:
            self.assertEqual(host.unmapped(text), plain)

    @given(st.ip_addresses())
    def test_both_normalisations_agree_on_what_the_kernel_spells(self, address):
        """One client must not have two names, whichever way its address came in."""
        spelled = socket.inet_ntop(
            socket.AF_INET if address.version == 4 else socket.AF_INET6, address.packed
        )
        self.assertEqual(host.unmapped(spelled), host.normalise_address(str(address)))

    def test_an_ipv4_address_is_mapped_where_only_ipv6_fits(self):
        self.assertEqual(host.ipv6_text(host.packed_address("192.0.2.1")), "::ffff:192.0.2.1")
        self.assertEqual(host.ipv6_text(host.packed_address("2001:db8::1")), "2001:db8::1")


class HostNameTests(SynchronousTestCase):
    def test_names_are_lower_case_without_the_root(self):
        self.assertEqual(host.host_name(b"WWW.Example.COM."), "www.example.com")
        self.assertEqual(
            host.host_name(b"_dmarc.a--b.xn--bcher-kva.example"), "_dmarc.a--b.xn--bcher-kva.example"
        )
        self.assertEqual(host.host_name(b"localhost"), "localhost")

    def test_a_label_has_at_most_63_bytes_and_a_name_255(self):
        self.assertIsNotNone(host.host_name(b"a" * 63 + b".example"))
        self.assertIsNone(host.host_name(b"a" * 64 + b".example"))
        longest = b".".join([b"a" * 63] * 4)
        self.assertEqual(len(longest), 255)
        self.assertIsNotNone(host.host_name(longest))
        self.assertIsNone(host.host_name(longest + b"."))

    def test_other_bytes_are_not_a_host_name(self):
        for raw in [
            b"",
            b".",
            b"a..b",
            b".a",
            b"a.example\x00",
            b"a b",
            b"*.a",
            b"a\n",
            b"\xe2\x84\xaa.example",
            b"[::1]",
        ]:
            self.assertIsNone(host.host_name(raw), raw)

    def test_a_label_is_a_name_without_dots(self):
        for text in ["a", "A-1", "_dmarc", "-", "a" * 63]:
            self.assertTrue(host.is_label(text), text)
        for text in ["", "a.b", "a.", "a b", "\ud800", "\u017f", "\u0660", "a" * 64, "a\n"]:
            self.assertFalse(host.is_label(text), text)


class LoopbackTests(SynchronousTestCase):
    def test_loopback_hosts(self):
        for name in ("localhost", "localhost.", "127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1"):
            self.assertTrue(host.is_loopback(name), name)

    def test_other_hosts_are_not_loopback(self):
        """The admin API needs a token on these."""
        for name in (
            "",
            "0.0.0.0",
            "::",
            "128.0.0.1",
            "::2",
            "localhost.example",
            "10.0.0.1",
            "::ffff:10.0.0.1",
        ):
            self.assertFalse(host.is_loopback(name), name)
