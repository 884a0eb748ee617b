"""Domain patterns: which names each kind matches, how they are normalised, and which is more specific."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.routing.domains import DomainSet, normalise_pattern, parents, specificity


class DomainSetTests(SynchronousTestCase):
    def met(self, pattern: str, name: str | None) -> bool:
        return DomainSet([pattern]).best(name) is not None

    def test_an_exact_pattern_matches_that_name_only(self) -> None:
        self.assertTrue(self.met("example.com", "example.com"))
        for other in ("www.example.com", "example.com.evil.example", "xexample.com", "com", "", None):
            self.assertFalse(self.met("example.com", other))

    def test_a_wildcard_matches_one_label_or_more_but_not_none(self) -> None:
        """Unlike the wildcard of a certificate, which stands for exactly one label."""
        self.assertTrue(self.met("*.example.com", "a.example.com"))
        self.assertTrue(self.met("*.example.com", "c.b.a.example.com"))
        for other in (
            "example.com",
            ".example.com",
            "aexample.com",
            "example.com.",
            "a.example.org",
            "",
            None,
        ):
            self.assertFalse(self.met("*.example.com", other))

    def test_a_star_matches_any_name_but_not_a_missing_one(self) -> None:
        self.assertTrue(self.met("*", "localhost"))
        self.assertTrue(self.met("*", "a.b.c"))
        self.assertFalse(self.met("*", None))
        self.assertFalse(self.met("*", ""))

    def test_a_nul_in_a_name_does_not_end_it(self) -> None:
        self.assertFalse(self.met("example.com", "example.com\0.evil.example"))
        self.assertFalse(self.met("*.example.com", "a.example.com\0"))

    def test_the_most_specific_pattern_is_the_best(self) -> None:
        names = DomainSet(["*", "*.example.com", "*.a.example.com", "x.a.example.com"])
        self.assertEqual(names.best("x.a.example.com"), "x.a.example.com")
        self.assertEqual(names.best("y.a.example.com"), "*.a.example.com")
        self.assertEqual(names.best("a.example.com"), "*.example.com")
        self.assertEqual(names.best("example.com"), "*")

    def test_specificity_is_exact_then_longer_then_star_then_none(self) -> None:
        ordered = ["a.example.com", "*.b.example.com", "*.example.com", "*", None]
        self.assertEqual(sorted(ordered, key=specificity, reverse=True), ordered)

    @given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=5))
    def test_parents_are_all_proper_suffixes_of_labels(self, labels) -> None:
        expected = [".".join(labels[start:]) for start in range(1, len(labels))]
        self.assertEqual(list(parents(".".join(labels))), expected)


class SpellingTests(SynchronousTestCase):
    def test_case_and_final_dot_do_not_matter(self) -> None:
        self.assertEqual(normalise_pattern("WWW.Example.COM."), "www.example.com")
        self.assertEqual(normalise_pattern("*.Example.com"), "*.example.com")
        self.assertEqual(normalise_pattern("*"), "*")

    def test_unicode_is_encoded_and_a_labels_are_kept(self) -> None:
        self.assertEqual(normalise_pattern("Bücher.example"), "xn--bcher-kva.example")
        self.assertEqual(normalise_pattern("*.straße.example"), "*.xn--strae-oqa.example")
        self.assertEqual(normalise_pattern("XN--bcher-kva.example"), "xn--bcher-kva.example")

    def test_underscores_and_single_labels_are_accepted(self) -> None:
        self.assertEqual(normalise_pattern("_acme.localhost"), "_acme.localhost")
        self.assertEqual(normalise_pattern("localhost"), "localhost")

    def test_addresses_are_normalised(self) -> None:
        for written, normal in {
            "192.0.2.1": "192.0.2.1",
            "2001:DB8:0::1": "2001:db8::1",
            "::ffff:192.0.2.1": "192.0.2.1",
        }.items():
            self.assertEqual(normalise_pattern(written), normal)
            self.assertEqual(normalise_pattern(normal), normal)

    def test_an_invalid_pattern_is_refused_and_quoted(self) -> None:
        for pattern, why in {
            "": "empty label",
            ".": "empty label",
            "*.": "empty label",
            "a..b": "empty label",
            "www.*.com": "* must be the whole pattern",
            "*a.com": "* must be the whole pattern",
            "*.*.com": "* must be the whole pattern",
            "a b.com": "letters, digits",
            "a.com:443": "letters, digits",
            "a" * 64 + ".com": "longer than 63",
            ".".join(["a" * 60] * 5): "longer than 253",
            "\u200b.com": "",
            "[::1]": "letters, digits",
            "fe80::1%eth0": "letters, digits",
            "::1:443:x": "letters, digits",
        }.items():
            problem = str(self.assertRaises(ValueError, normalise_pattern, pattern))
            self.assertIn(repr(pattern), problem)
            self.assertIn(why, problem)

    def test_normalising_twice_changes_nothing(self) -> None:
        """A plan holds normalised patterns, which the table normalises again."""
        for pattern in ("Bücher.example.", "*.A.example", "*"):
            self.assertEqual(normalise_pattern(normalise_pattern(pattern)), normalise_pattern(pattern))
