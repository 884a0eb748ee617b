"""Address sets: what an entry means, what a set contains, and which entries are refused with which message."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, summarize_address_range

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.security.address_set import AddressSet, networks_of

v4 = st.integers(0, 2**32 - 1).map(IPv4Address)
v6 = st.integers(0, 2**128 - 1).map(IPv6Address)


def unmapped(address):
    """An IPv4-mapped IPv6 address as the IPv4 address that it stands for; any other one as it is."""
    return getattr(address, "ipv4_mapped", None) or address


class MembershipTests(SynchronousTestCase):
    def test_a_single_host_contains_itself_only(self) -> None:
        addresses = AddressSet(["192.0.2.1", "2001:db8::1"])
        self.assertIn("192.0.2.1", addresses)
        self.assertIn("2001:db8::1", addresses)
        self.assertNotIn("192.0.2.2", addresses)
        self.assertNotIn("2001:db8::2", addresses)

    def test_a_network_contains_its_first_and_last_address(self) -> None:
        addresses = AddressSet(["192.0.2.64/26", "2001:db8:1::/48"])
        for inside in ("192.0.2.64", "192.0.2.127", "2001:db8:1::", "2001:db8:1:ffff:ffff:ffff:ffff:ffff"):
            self.assertIn(inside, addresses)
        for outside in ("192.0.2.63", "192.0.2.128", "2001:db8:0:ffff::", "2001:db8:2::"):
            self.assertNotIn(outside, addresses)

    def test_host_bits_of_a_network_are_masked(self) -> None:
        self.assertEqual(AddressSet(["10.1.2.3/8"]), AddressSet(["10.0.0.0/8"]))

    def test_a_range_contains_both_of_its_ends(self) -> None:
        addresses = AddressSet(["192.0.2.5-192.0.2.9", "2001:db8::fffe - 2001:db8::1:1"])
        for inside in ("192.0.2.5", "192.0.2.7", "192.0.2.9", "2001:db8::fffe", "2001:db8::1:1"):
            self.assertIn(inside, addresses)
        for outside in ("192.0.2.4", "192.0.2.10", "2001:db8::fffd", "2001:db8::1:2"):
            self.assertNotIn(outside, addresses)

    def test_a_mapped_address_is_checked_as_ipv4(self) -> None:
        """A dual-stack socket reports IPv4 clients so, and a block list must still apply."""
        addresses = AddressSet(["192.0.2.0/24"])
        self.assertIn("::ffff:192.0.2.1", addresses)
        self.assertIn("::FFFF:c000:201", addresses)
        self.assertNotIn("::ffff:192.0.3.1", addresses)

    def test_a_mapped_entry_is_read_as_ipv4(self) -> None:
        for entry in ("::ffff:10.0.0.0/104", "::ffff:10.0.0.0-::ffff:10.255.255.255"):
            self.assertEqual(AddressSet([entry]), AddressSet(["10.0.0.0/8"]))
        self.assertIn("10.0.0.1", AddressSet(["::ffff:10.0.0.1"]))

    def test_all_addresses_of_one_family_exclude_the_other(self) -> None:
        """Whoever blocks ::/0 means IPv6."""
        self.assertNotIn("192.0.2.1", AddressSet(["::/0"]))
        self.assertNotIn("::ffff:192.0.2.1", AddressSet(["::/0"]))
        self.assertNotIn("2001:db8::1", AddressSet(["0.0.0.0/0"]))
        self.assertIn("2001:db8::1", AddressSet(["::/0"]))
        self.assertIn("192.0.2.1", AddressSet(["0.0.0.0/0"]))

    def test_an_ipv6_address_is_found_in_every_spelling(self) -> None:
        addresses = AddressSet(["2001:DB8:0:0::1"])
        self.assertIn("2001:0db8::0001", addresses)
        self.assertIn("2001:db8:0:0:0:0:0:1", addresses)

    def test_the_zone_of_a_checked_address_is_ignored(self) -> None:
        self.assertIn("fe80::1%eth0", AddressSet(["fe80::/10"]))

    def test_other_values_are_in_no_set(self) -> None:
        """What is no address must not pass an allow list, nor raise an exception."""
        everything = AddressSet(["0.0.0.0/0", "::/0"])
        for question in ("", "localhost", "1.2.3", "01.2.3.4", "1.2.3.4\0", "::1\0", "\ud800:", "a:b"):
            self.assertNotIn(question, everything)
        for question in (None, 16909060, b"\1\2\3\4", [], IPv4Address("1.2.3.4")):
            self.assertNotIn(question, everything)

    @given(st.lists(st.tuples(v4, v4) | st.tuples(v6, v6), max_size=5), st.lists(v4 | v6, max_size=5))
    def test_ranges_contain_what_comparing_numbers_gives(self, pairs, others) -> None:
        written = [f"{low}-{high}" for low, high in map(sorted, pairs)]
        ranges = [(unmapped(low), unmapped(high)) for low, high in map(sorted, pairs)]
        if any(low.version != high.version for low, high in ranges):  # one end is an IPv4-mapped address
            self.assertRaises(ValueError, AddressSet, written)
            return
        addresses = AddressSet(written)
        for question in [*others, *(end for pair in pairs for end in pair)]:
            q = unmapped(question)
            expected = any(low.version == q.version and low <= q <= high for low, high in ranges)
            self.assertEqual(str(question) in addresses, expected)

    @given(v4, st.integers(0, 32), v4)
    def test_networks_contain_what_ipaddress_says(self, host, length, question) -> None:
        network = next(networks_of(f"{host}/{length}"))
        self.assertEqual(str(question) in AddressSet([f"{host}/{length}"]), question in network)


class SizeTests(SynchronousTestCase):
    def test_an_empty_set_is_false_and_contains_nothing(self) -> None:
        self.assertFalse(AddressSet([]))
        self.assertEqual(len(AddressSet([])), 0)
        self.assertNotIn("192.0.2.1", AddressSet([]))

    def test_length_counts_distinct_networks(self) -> None:
        self.assertEqual(len(AddressSet(["10.0.0.0/8", "10.9.9.9/8", "::ffff:10.0.0.0/104", "::1"])), 2)
        whole = summarize_address_range(ip_address("10.0.0.1"), ip_address("10.0.0.6"))
        self.assertEqual(len(AddressSet(["10.0.0.1-10.0.0.6"])), len(list(whole)))

    def test_repr_gives_the_number_of_networks(self) -> None:
        self.assertEqual(repr(AddressSet(["10.0.0.0/8", "::1"])), "<AddressSet of 2 networks>")

    def test_the_text_lists_the_first_few_networks(self) -> None:
        self.assertEqual(
            str(AddressSet(["2001:db8::/32", "10.0.0.1", "10.0.0.0/9"])),
            "10.0.0.0/9, 10.0.0.1, 2001:db8::/32",
        )
        self.assertEqual(
            str(AddressSet(f"10.0.0.{number}" for number in range(8))),
            "10.0.0.0, 10.0.0.1, 10.0.0.2, 10.0.0.3, 10.0.0.4 and 3 more",
        )

    def test_equal_sets_have_equal_hashes(self) -> None:
        self.assertEqual(hash(AddressSet(["10.0.0.0/9"])), hash(AddressSet(["10.1.0.0/9"])))
        self.assertNotEqual(AddressSet(["10.0.0.0/9"]), AddressSet(["10.0.0.0/8"]))
        self.assertNotEqual(AddressSet([]), frozenset())


class RefusedEntryTests(SynchronousTestCase):
    def refused(self, entry: str, because: str) -> None:
        problem = str(self.assertRaises(ValueError, AddressSet, ["192.0.2.1", entry]))
        self.assertIn(repr(entry), problem)
        self.assertIn(because, problem)

    def test_an_entry_that_is_no_address_is_refused(self) -> None:
        for entry in (
            "",
            "localhost",
            "1.2.3",
            "1.2.3.4.5",
            "01.2.3.4",
            "/8",
            "-",
            "1.2.3.4-",
            "10.0.0.0/8-10.0.0.9",
        ):
            self.refused(entry, "does not appear to be an IPv4 or IPv6 address")

    def test_an_invalid_prefix_length_is_refused(self) -> None:
        for entry in ("10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/255.0.0.0", "10.0.0.0/٨"):
            self.assertRaises(ValueError, AddressSet, [entry])
        self.refused("10.0.0.0/33", "the prefix length must be 0..32")
        self.refused("2001:db8::/129", "the prefix length must be 0..128")

    def test_a_reversed_or_mixed_range_is_refused(self) -> None:
        self.refused("10.0.0.9-10.0.0.1", "the end must not be below the beginning")
        self.refused("10.0.0.9-2001:db8::1", "both ends must be of the same family")

    def test_an_entry_with_a_zone_is_refused(self) -> None:
        for entry in ("fe80::1%eth0", "fe80::%eth0/64", "fe80::1%1-fe80::2"):
            self.refused(entry, "an address with a zone is not allowed")


class EntryTests(SynchronousTestCase):
    def test_narrowest_network_is_the_entry(self):
        """An operator asks why a client is blocked: the answer is the entry to remove."""
        addresses = AddressSet(
            ["192.0.2.0/24", "192.0.2.64/26", "192.0.2.66", "10.0.0.1-10.0.0.2", "2001:db8::/32", "::/0"]
        )
        for address, entry in (
            ("192.0.2.66", "192.0.2.66"),
            ("::ffff:192.0.2.66", "192.0.2.66"),
            ("192.0.2.65", "192.0.2.64/26"),
            ("192.0.2.1", "192.0.2.0/24"),
            ("10.0.0.2", "10.0.0.1-10.0.0.2"),
            ("2001:db8::1", "2001:db8::/32"),
            ("fe80::1%eth0", "::/0"),
            ("198.51.100.1", None),
            ("no address", None),
        ):
            self.assertEqual(addresses.entry(address), entry)
