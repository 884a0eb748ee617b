from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.wire.http_fields import Fields, line, tokens
from tests.wire.ways import PROPERTY

BLOCK = b"Host: a.example\r\nX-Env:  staging \r\nCONNECTION:close,\tx-a\r\nconnection: X-B\r\nX-Empty:\r\n"


class FieldsTests(SynchronousTestCase):
    def test_names_are_lower_case_and_values_without_blanks_around_them(self):
        self.assertEqual(
            Fields.parse(BLOCK).pairs(),
            (
                ("host", "a.example"), ("x-env", "staging"), ("connection", "close,\tx-a"), ("connection", "X-B"),
                ("x-empty", ""),
            ),
        )  # fmt: skip
        self.assertEqual(len(Fields.parse(BLOCK)), 5)

    def test_values_of_one_field_are_in_the_order_received(self):
        fields = Fields.parse(BLOCK)
        self.assertEqual(fields.noted("connection"), ["close,\tx-a", "X-B"])
        self.assertEqual(fields.values("x-env"), ["staging"])
        self.assertEqual((fields.noted("te"), fields.values("x")), ([], []))

    def test_a_noted_name_is_found_at_the_beginning_of_a_line_only(self):
        fields = Fields.parse(b"X-Host: a\r\nX: \tHost: b\r\nTE:trailers\r\nHosts: c\r\n")
        self.assertEqual(fields.noted("host"), [])
        self.assertEqual(fields.noted("te"), ["trailers"])

    def test_lines_of_some_fields_are_left_out(self):
        kept = Fields.parse(BLOCK).without({b"connection", b"x-empty"})
        self.assertEqual(kept, b"Host: a.example\r\nX-Env:  staging \r\n")

    def test_a_malformed_block_is_refused(self):
        """Each is read in different ways by different servers."""
        for block in [
            b"X : a\r\n", b" X: a\r\n", b"\tfolded\r\n", b"X: a\r\n b\r\n", b": a\r\n", b"X\r\n", b"X: a", b"X: a\n",
            b"X: a\rb\r\n", b"X: a\nb\r\n", b"X: \x00\r\n", b"X: \x0b\r\n", b"X: \x7f\r\n", b"X(: a\r\n", b"\xe9: a\r\n",
            b"X: a\r\n\r\n", b"\r\n", b"X: a\r\n\x00", b"X Y: a\r\n", b'"X": a\r\n',
        ]:  # fmt: skip
            with self.assertRaises(ValueError, msg=block):
                Fields.parse(block)
        self.assertEqual(Fields.parse(b"").pairs(), ())

    def test_a_field_that_is_no_line_cannot_be_written(self):
        """A line break in a value would begin a field of the writer's choice."""
        for name, value in [
            ("X", "a\r\nb: c"),
            ("X\r\n", "a"),
            ("", "a"),
            ("X:", "a"),
            ("X", "\x00"),
            ("X", "a\nb"),
            ("X", "\u0141\xf3d\u017a"),  # not Latin-1: it would be another value
            ("X\u0141", "a"),
        ]:
            with self.assertRaises(ValueError, msg=(name, value)) as refused:
                line(name, value)
            self.assertEqual(str(refused.exception), f"not a header field: {name!a}: {value!a}")
        self.assertEqual(line("X-A", "b\xe9"), b"X-A: b\xe9\r\n")

    def test_a_field_of_another_type_cannot_be_written(self):
        for name, value in [("Retry-After", 5), ("X", None), (b"X", "a")]:
            types = f"{type(name).__name__} and {type(value).__name__}"
            with self.assertRaisesRegex(TypeError, f"must be str \\(got {types}\\)"):
                line(name, value)

    def test_tokens_are_the_members_of_all_lines(self):
        self.assertEqual(tokens(["Close, ,\tX-A", "", "te "]), ["close", "x-a", "te"])

    @PROPERTY
    @given(
        st.lists(
            st.tuples(
                st.from_regex(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,12}", fullmatch=True),
                st.from_regex(r"([!-~\x80-\xff]([ \t!-~\x80-\xff]{0,20}[!-~])?)?", fullmatch=True),
            ),
            max_size=8,
        )
    )
    def test_what_is_written_is_parsed_back(self, pairs):
        block = Fields.of(pairs).block
        self.assertEqual(Fields.parse(block).pairs(), tuple((name.lower(), value) for name, value in pairs))

    @PROPERTY
    @given(st.binary(max_size=80))
    def test_a_block_of_any_bytes_is_parsed_or_refused(self, data):
        try:
            fields = Fields.parse(data)
        except ValueError:
            return
        self.assertEqual(len(fields.pairs()), len(fields))
        self.assertEqual(fields.without(()), data)
