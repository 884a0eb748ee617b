"""What an operator reads when a directory refuses, and what a hostile one cannot do to the log."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.acme.problems import HINTS, error_from, error_of
from smartproxy.acme.text import LONGEST, listed, one_line
from smartproxy.errors import AcmeError, DirectoryUnavailable
from tests.acme.directory import URN, WALL, answer

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["type", "detail", "subproblems", "identifier", "value", "instance"]) | st.text(), inner
    ),
    max_leaves=20,
)  # fmt: skip


def problem(kind: str, detail: str = "no", **more: object) -> dict[str, object]:
    return {"type": URN + kind, "detail": detail, **more}


class TextTests(SynchronousTestCase):
    def test_every_kind_is_named_with_its_hint(self) -> None:
        """The kind is what an operator searches for, and the hint what is tried first."""
        for kind, hint in HINTS.items():
            error = error_from(problem(kind, "The reason."), "order for a.example")
            self.assertEqual(error.kind, kind)
            self.assertEqual(error.text, f"order for a.example: The reason ({kind}); {hint}")

    def test_hint_is_about_what_was_asked_for(self) -> None:
        """A refused account has nothing to do with the addresses of a name."""
        for what, wanted, other in (
            ("account at https://acme.example/dir", "acme.eab", "addresses"),
            ("http-01 of a.example", "addresses", "acme.eab"),
            ("tls-alpn-01 of a.example", "addresses", "TXT"),
            ("dns-01 of a.example", "TXT", "addresses"),
        ):
            text = error_from(problem("unauthorized"), what).text
            self.assertIn(wanted, text)
            self.assertNotIn(other, text)
        self.assertIn("port 443", error_from(problem("connection"), "tls-alpn-01 of a.example").text)

    def test_kinds_of_the_rfc_have_hints(self) -> None:
        """Those that an operator can do something about."""
        wanted = {
            "caa", "connection", "dns", "incorrectResponse", "rateLimited", "rejectedIdentifier", "unauthorized",
            "externalAccountRequired", "userActionRequired", "badCSR", "tls", "unsupportedIdentifier",
        }  # fmt: skip
        self.assertLessEqual(wanted, set(HINTS))

    def test_an_unknown_kind_has_what_the_directory_said(self) -> None:
        """Directories have kinds of their own."""
        error = error_from(problem("brandNew", "Because"), "order for a.example")
        self.assertEqual((error.kind, error.text), ("brandNew", "order for a.example: Because (brandNew)"))
        error = error_from({"type": "about:blank", "detail": "Because"}, "order for a.example")
        self.assertEqual((error.kind, error.text), ("", "order for a.example: Because"))

    def test_subproblems_name_each_name(self) -> None:
        """RFC 8555, 6.7.1: of twenty names, two are refused for two reasons."""
        below = [
            {**problem("caa", "CAA forbids"), "identifier": {"type": "dns", "value": "a.example"}},
            {
                **problem("rejectedIdentifier", "is internal"),
                "identifier": {"type": "dns", "value": "b.local"},
            },
        ]
        error = error_from(problem("compound", "Two names", subproblems=below), "order")
        self.assertEqual(
            error.text,
            "order: Two names (compound): a.example: CAA forbids (caa); b.local: is internal (rejectedIdentifier); "
            + HINTS["caa"],
        )
        self.assertEqual(error.names, ("a.example", "b.local"))

    def test_server_errors_are_of_a_class_of_their_own(self) -> None:
        """Whoever retries tells a directory that is down from one that refuses."""
        self.assertIsInstance(
            error_of(answer(500, problem("serverInternal")), "x", WALL), DirectoryUnavailable
        )
        self.assertNotIsInstance(error_of(answer(403, problem("caa")), "x", WALL), DirectoryUnavailable)

    def test_names_are_listed_up_to_three(self) -> None:
        """A line with a hundred names cannot be read."""
        names = [f"{letter}.example" for letter in "abcde"]
        self.assertEqual(listed(names[:2]), "a.example, b.example")
        self.assertEqual(listed(names), "a.example, b.example, c.example and 2 more")


class HostileTests(SynchronousTestCase):
    def test_a_long_text_is_cut(self) -> None:
        """And shows that it was."""
        self.assertEqual(one_line("x" * LONGEST), "x" * LONGEST)
        self.assertEqual(one_line("x" * 10**6), "x" * (LONGEST - 3) + "...")

    def test_names_of_subproblems_are_cleaned(self) -> None:
        """They are shown by the admin API, too."""
        below = [{**problem("caa"), "identifier": {"type": "dns", "value": "a\n\x1b[31m"}}]
        self.assertEqual(error_from(problem("caa", subproblems=below), "order").names, ("a \\x1b[31m",))

    @given(JSON)
    def test_any_problem_is_one_bounded_line(self, found: object) -> None:
        """A directory is another party's: its text must not forge lines of the log, or fill it."""
        error = error_from(found, "order for a.example", ("a.example",))
        self.assertIsInstance(error, AcmeError)
        self.assertTrue(error.text.isascii() and error.text.isprintable(), error.text)
        self.assertLess(len(error.text), 2500)
        self.assertTrue(all(name.isascii() and name.isprintable() for name in error.names))

    @given(st.binary())
    def test_any_body_is_an_error(self, body: bytes) -> None:
        """Parsing an error must not raise another one."""
        self.assertTrue(error_of(answer(400, body), "x", WALL).text.startswith("x: "))
