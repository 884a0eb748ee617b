"""Address lists compared with each other."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.security.address_ranges import ALL_IPV4, ALL_IPV6, covers, overlap, ranges_of
from smartproxy.security.address_set import AddressSet

#: Networks within 10.0.0.0/28, so that lists meet often.
NETWORKS = st.builds(lambda host, bits: f"10.0.0.{host}/{bits}", st.integers(0, 15), st.integers(28, 32))
LISTS = st.lists(NETWORKS, max_size=4)
ADDRESSES = [f"10.0.0.{host}" for host in range(16)]


class RangesTests(SynchronousTestCase):
    def test_halves_add_up_to_the_whole(self) -> None:
        self.assertEqual(ranges_of(["128.0.0.0/1", "0.0.0.0/1"]), ALL_IPV4)
        self.assertEqual(ranges_of(["::/1", "8000::/1"]), ALL_IPV6)

    def test_families_are_apart(self) -> None:
        self.assertFalse(covers(ALL_IPV4, ALL_IPV6))
        self.assertFalse(overlap(ALL_IPV6, ALL_IPV4))
        self.assertTrue(covers(ranges_of(["0.0.0.0/0", "::/0"]), ranges_of(["10.0.0.1", "2001:db8::/32"])))

    def test_an_empty_list_covers_nothing_and_is_covered(self) -> None:
        self.assertEqual(
            (covers((), ALL_IPV4), covers(ALL_IPV4, ()), overlap((), ALL_IPV4)), (False, True, False)
        )

    @settings(max_examples=200)
    @given(LISTS, LISTS)
    def test_comparisons_agree_with_address_sets(self, one: list[str], other: list[str]) -> None:
        """What a list has is what its set says of each address."""
        a, b = ({each for each in ADDRESSES if each in AddressSet(entries)} for entries in (one, other))
        self.assertEqual(covers(ranges_of(one), ranges_of(other)), b <= a)
        self.assertEqual(overlap(ranges_of(one), ranges_of(other)), bool(a & b))
