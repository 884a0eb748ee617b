from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.wire.http_chunked import (
    CHUNK_END,
    EXTENSIONS_LIMIT,
    LINE_LIMIT,
    TRAILERS_LIMIT,
    ChunkedDecoder,
    chunk_begin,
    last_chunk,
)
from smartproxy.wire.http_fields import Fields
from smartproxy.wire.verdict import Done, Malformed
from tests.wire.ways import PROPERTY, damaged

SIMPLE = b'5\r\nhello\r\n6;a=b ; c="d"\r\n world\r\n0\r\nX-A: b\r\n\r\n'
BODY = b"hello world"


def decoded(*cuts):
    """Body, and the verdict, of a body that is received in these cuts."""
    decoder, body = ChunkedDecoder(), b""
    for cut in cuts:
        pieces = []
        verdict = decoder.feed(cut, pieces)
        body += b"".join(pieces)
        if verdict is not None:
            return body, verdict
    return body, None


def bytewise(data):
    return decoded(*(data[at : at + 1] for at in range(len(data))))


class DecoderTests(SynchronousTestCase):
    def check(self, data, body, trailers=()):
        """The same however it is cut; bytes behind it are not consumed."""
        fields = Fields.of(trailers)
        for behind in (b"", b"GET / HTTP/1.1\r\n", b"\r\n", b"x" * 70_000):
            self.assertEqual(decoded(data + behind), (body, Done(fields, len(data))))
        self.assertEqual(bytewise(data), (body, Done(fields, 1)))
        for cut in range(1, len(data)):
            self.assertIsNone(decoded(data[:cut])[1], cut)
            self.assertEqual(decoded(data[:cut], data[cut:]), (body, Done(fields, len(data) - cut)), cut)

    def check_refused(self, data):
        self.assertIsInstance(decoded(data)[1], Malformed, repr(data[:80]))
        self.assertIsInstance(bytewise(data)[1], Malformed, repr(data[:80]))
        for cut in range(1, min(len(data), 200)):
            self.assertIsInstance(decoded(data[:cut], data[cut:])[1], Malformed, (data[:80], cut))

    def test_chunks_are_joined_and_extensions_dropped(self):
        self.check(SIMPLE, BODY, [("x-a", "b")])
        self.check(b"0\r\n\r\n", b"")
        self.check(b"00000000000000A\r\n0123456789\r\n000\r\n\r\n", b"0123456789")
        self.check(b"2\r\n\r\n\r\n0\r\nA: 1\r\nB:\r\n\r\n", b"\r\n", [("a", "1"), ("b", "")])

    def test_what_has_more_than_one_reading_is_refused(self):
        for data in [
            b"\r\n0\r\n\r\n", b" 5\r\n", b"5 \r\n", b"0x5\r\n", b"+5\r\n", b"-1\r\n", b"5\n", b"5\rX\r\n", b"g\r\n",
            b"5,5\r\n", b"5;a\nb\r\n", b"5;a\rb\r\n", b"5;\x00\r\n", b"10000000000000000\r\n", b"ffffffffffffffff\r\n",
            b"8000000000000000\r\n", b"5\r\nhelloX\r\n", b"5\r\nhello\n", b"5\r\nhello\rX", b"5\r\nhello5\r\n",
            b"0\r\nX : a\r\n\r\n", b"0\r\n folded\r\n\r\n", b"0\r\nX: a\n\n", b"0\r\nX: a\rb\r\n\r\n", b"0\r\nX\r\n\r\n",
        ]:  # fmt: skip
            self.check_refused(data)

    def test_lines_extensions_and_trailers_are_bounded(self):
        """Also while they are not complete: nothing grows."""
        self.check_refused(b"5;" + b"a" * LINE_LIMIT)
        self.check_refused(b"0" * 100_000)
        self.check_refused(b"1;" + b"a" * 999 + b"\r\n" + b"x\r\n1;aaaaaaaaaaaaaaaa" * 10_000)
        self.check_refused(b"0\r\nX: " + b"a" * TRAILERS_LIMIT + b"\r\n\r\n")
        self.check_refused(b"0\r\n" + b"X: a\r\n" * 101 + b"\r\n")
        self.check_refused(b"0\r\n" + b"X: a\r\n" * 100_000)
        one = b"1;" + b"a" * 1000 + b"\r\nx\r\n"
        many = EXTENSIONS_LIMIT // 1001
        self.assertIsNone(decoded(one * many)[1])
        self.assertIsInstance(decoded(one * (many + 1))[1], Malformed)

    def test_limits_are_exact(self):
        self.check(b"1;" + b"a" * (LINE_LIMIT - 2) + b"\r\nx\r\n0\r\n\r\n", b"x")
        self.check_refused(b"1;" + b"a" * (LINE_LIMIT - 1) + b"\r\nx\r\n0\r\n\r\n")
        longest = b"X: " + b"a" * (TRAILERS_LIMIT - 5) + b"\r\n"
        self.assertEqual(decoded(b"0\r\n" + longest + b"\r\n")[1].value.block, longest)
        self.assertIsInstance(decoded(b"0\r\nX" + longest + b"\r\n")[1], Malformed)

    def test_what_is_written_is_decoded(self):
        written = b"".join(chunk_begin(n) + b"x" * n + CHUNK_END for n in (1, 15, 16, 4096)) + last_chunk(
            b"A: b\r\n"
        )
        self.assertEqual(decoded(written), (b"x" * 4128, Done(Fields.of([("a", "b")]), len(written))))

    def test_pieces_are_views_of_what_was_received(self):
        """A body is not copied by the decoder."""
        received, pieces = bytes(SIMPLE), []
        ChunkedDecoder().feed(received, pieces)
        self.assertEqual([piece.obj is received for piece in pieces], [True, True])

    @PROPERTY
    @given(
        st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.lists(st.integers(1, 20), max_size=20)
    )
    def test_any_body_survives_any_cut(self, chunks, cuts):
        data = b"".join(chunk_begin(len(each)) + each + CHUNK_END for each in chunks) + last_chunk()
        parts, at = [], 0
        for cut in cuts:
            parts.append(data[at : at + cut])
            at += cut
        body, verdict = decoded(*[part for part in [*parts, data[at:]] if part])
        self.assertEqual(body, b"".join(chunks))
        self.assertIsInstance(verdict, Done)

    @PROPERTY
    @given(damaged(SIMPLE, b"3\r\nabc\r\n0\r\n\r\n", b"a;b\r\n0123456789\r\n00\r\nA: b\r\nC: d\r\n\r\n"))
    def test_the_verdict_on_any_bytes_does_not_depend_on_the_cut(self, data):
        body, verdict = decoded(data)
        other_body, other = bytewise(data)
        self.assertIs(type(verdict), type(other))
        if not isinstance(verdict, Malformed):
            self.assertEqual(body, other_body)
