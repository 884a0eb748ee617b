"""Durations, sizes and ports: their values, and what is refused."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.settings.tables.units import octets, ports, seconds, size_text

_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}


class DurationTests(SynchronousTestCase):
    def test_number_is_milliseconds(self) -> None:
        self.assertEqual([seconds(100), seconds(1500), seconds(0.5), seconds(0)], [0.1, 1.5, 0.0005, 0.0])

    def test_string_has_a_unit(self) -> None:
        written = ["100ms", "30s", "5m", "4h", "7d", "1.5s", "0s"]
        self.assertEqual([seconds(text) for text in written], [0.1, 30.0, 300.0, 14400.0, 604800.0, 1.5, 0.0])

    def test_units_combine_from_large_to_small(self) -> None:
        self.assertEqual(seconds("1h30m"), 5400.0)
        for text in ("30m1h", "1h1h", "5s5s"):
            with self.assertRaises(ValueError):
                seconds(text)

    def test_malformed_duration_is_refused(self) -> None:
        for written in (
            "",
            "30",
            "s",
            "-1s",
            " 5s",
            "5 s",
            "5S",
            "1e3s",
            "٣s",
            -1,
            True,
            None,
            [5],
            float("nan"),
        ):
            with self.assertRaises(ValueError, msg=repr(written)):
                seconds(written)

    def test_duration_above_100_years_is_refused(self) -> None:
        self.assertEqual(seconds("36500d"), 36500 * 86400.0)
        for written in ("36501d", 10**400, 10**300, float("inf")):
            with self.assertRaises(ValueError, msg=repr(written)):
                seconds(written)

    @given(
        st.lists(st.integers(0, 99), min_size=5, max_size=5),
        st.sets(st.sampled_from(list(_SECONDS)), min_size=1),
    )
    def test_duration_is_the_sum_of_its_parts(self, numbers: list[int], used: set[str]) -> None:
        parts = [(n, unit) for n, unit in zip(numbers, _SECONDS, strict=True) if unit in used]
        text = "".join(f"{n}{unit}" for n, unit in parts)
        self.assertAlmostEqual(seconds(text), sum(n * _SECONDS[unit] for n, unit in parts))

    @given(st.integers(0, 10**12))
    def test_number_and_string_of_milliseconds_agree(self, number: int) -> None:
        self.assertAlmostEqual(seconds(number), seconds(f"{number}ms"), places=3)


class SizeTests(SynchronousTestCase):
    def test_size_as_text_is_read_as_the_same_size(self) -> None:
        for value in (1, 1000, 1024, 65536, 3 << 20, 1 << 30):
            self.assertEqual(octets(size_text(value) if value >= 1024 else value), value)
        self.assertEqual([size_text(value) for value in (0, 1000, 65536)], ["none", "1000", "64KiB"])

    def test_number_is_bytes(self) -> None:
        self.assertEqual(octets(512), 512)

    def test_string_has_a_binary_unit(self) -> None:
        written = ["64KiB", "10MiB", "1GiB", "512B", "1.5 KiB"]
        self.assertEqual([octets(text) for text in written], [65536, 10 << 20, 1 << 30, 512, 1536])

    def test_malformed_size_is_refused(self) -> None:
        for written in ("", "10", "10MB", "10mib", "-1B", -1, 1.5, True, None, "1025GiB", 1 << 41):
            with self.assertRaises(ValueError, msg=repr(written)):
                octets(written)


class PortTests(SynchronousTestCase):
    def test_range_includes_both_ends(self) -> None:
        self.assertEqual(ports("8000-8010"), range(8000, 8011))
        self.assertEqual(
            [ports(443), ports("443"), ports("7-7")], [range(443, 444), range(443, 444), range(7, 8)]
        )

    def test_malformed_port_is_refused(self) -> None:
        for written in (0, 65536, -1, "0-5", "5-65536", "8010-8000", "a", "", "1-2-3", " 1", 1.0, True, None):
            with self.assertRaises(ValueError, msg=repr(written)):
                ports(written)

    @given(st.integers(1, 65535), st.integers(1, 65535))
    def test_exactly_the_ascending_ranges_are_accepted(self, first: int, last: int) -> None:
        if first <= last:
            self.assertEqual(list(ports(f"{first}-{last}"))[:: max(1, last - first)][0], first)
            self.assertEqual(len(ports(f"{first}-{last}")), last - first + 1)
        else:
            self.assertRaises(ValueError, ports, f"{first}-{last}")
