"""Path patterns: anchored, with parameters and stars, and matched in linear time."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.routing.paths import is_exact, matcher, specificity


class PathTests(SynchronousTestCase):
    def check(self, pattern: str, *, yes: tuple[str, ...], no: tuple[str, ...]) -> None:
        fits = matcher(pattern)
        self.assertEqual([path for path in yes if not fits(path)], [])
        self.assertEqual([path for path in no if fits(path)], [])

    def test_an_exact_path_is_anchored_at_both_ends(self) -> None:
        self.check("/login", yes=("/login",), no=("/login/", "/loginx", "/x/login", "/LOGIN", "/login\n", ""))

    def test_characters_of_regular_expressions_are_literal(self) -> None:
        self.check("/a.b+(c)", yes=("/a.b+(c)",), no=("/axb+(c)", "/a.bb(c)"))
        self.check("/a.b/*", yes=("/a.b/c",), no=("/axb/c",))

    def test_a_star_matches_anything_or_nothing(self) -> None:
        self.check("/api/*", yes=("/api/", "/api/a", "/api/a/b", "/api/\n"), no=("/api", "/x/api/", "/apis/"))
        self.check("*", yes=("", "/", "/a/b"), no=())
        self.check("*.png", yes=("/a.png", "/a/b.png.png"), no=("/a.png/", "/apng"))
        self.check("/a*b*c", yes=("/abc", "/axbxbxc", "/abcc"), no=("/acb", "/ab"))
        self.check("/a**b", yes=("/ab", "/axb"), no=("/a",))

    def test_a_parameter_matches_one_segment_that_is_not_empty(self) -> None:
        self.check(
            "/users/:id", yes=("/users/7", "/users/a:b"), no=("/users/", "/users/7/", "/users/7/x", "/users")
        )
        self.check(
            "/users/:id/posts/:post", yes=("/users/7/posts/9",), no=("/users/7/posts/", "/users//posts/9")
        )

    def test_the_rest_of_a_segment_may_follow_a_parameter(self) -> None:
        self.check("/:id.json", yes=("/7.json", "/a.json.json"), no=("/.json", "/a/b.json", "/7.jsonx"))

    def test_a_colon_within_a_segment_is_literal(self) -> None:
        self.check("/a:b", yes=("/a:b",), no=("/axb", "/a"))
        self.check("/:", yes=("/:",), no=("/x",))

    def test_parameters_and_stars_can_be_combined(self) -> None:
        self.check("/:tenant/*", yes=("/a/", "/a/b/c"), no=("/a", "//b"))
        self.check(
            "/v1/*/items/:id",
            yes=("/v1/a/b/items/7", "/v1/items/items/7"),
            no=("/v1/items/7", "/v1/a/items/"),
        )

    def test_a_pattern_without_star_and_parameter_is_exact(self) -> None:
        self.assertTrue(is_exact("/a:b"))
        self.assertFalse(is_exact("/:a"))
        self.assertFalse(is_exact("/a*"))

    def test_specificity_orders_exact_then_more_literals_then_none(self) -> None:
        ordered = ["/a", "/api/v1/*", "/api/:longParameterName", "*", None]
        self.assertEqual(sorted(ordered, key=specificity, reverse=True), ordered)

    @given(st.text("/ab:*.", max_size=8), st.text("/ab:.", max_size=14))
    def test_it_matches_as_a_backtracking_expression_does(self, pattern, path) -> None:
        tokens = re.findall(r"(?<=/):[ab][ab]*|\*|.", pattern)
        naive = "".join(
            ".*" if token == "*" else "[^/]+" if len(token) > 1 else re.escape(token) for token in tokens
        )
        self.assertEqual(matcher(pattern)(path), re.fullmatch(naive, path) is not None)

    def test_a_path_made_to_backtrack_is_matched_in_linear_time(self) -> None:
        """The client chooses the path, and must not choose how long the event loop is blocked."""
        # Trying every split would be some 10^14 steps here: the test would not end.
        self.assertFalse(matcher("/*a*a*a*a*a*ab")("/" + "a" * 8000))
        self.assertFalse(matcher("/*:x*/:y*/:z*q/b")("/a" * 4000))
