"""The ways in which every parser is run: bytes come as they come, and the answer may not depend on it.

Whole, byte by byte as a caller would ask, cut at every offset, and with something behind: :func:`check`
does all four for bytes that are right, :func:`check_refused` for bytes that are not.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st

from smartproxy.wire.verdict import Done, Malformed, NeedMore

#: For every property: the same examples in each run, and no clock.
PROPERTY = settings(max_examples=150, derandomize=True, database=None)

TRAILING = (b"\x00", b"\r\n", b"PROXY UNKNOWN\r\n", b"\x16\x03\x01\x00\x01\x01", b"x" * 70_000)


def trickled(parse, data):
    """The first answer other than ``NeedMore`` while ``data`` comes in single bytes; ``None`` for none.

    Like every caller it does not ask again before the number of bytes is there that the answer named.
    """
    wanted = 0
    for length in range(len(data) + 1):
        if length < wanted:
            continue
        verdict = parse(data[:length])
        if not isinstance(verdict, NeedMore):
            return verdict
        wanted = verdict.at_least
    return None


def check(case, parse, data, value):
    """``data`` is ``value``, all of it and no byte less, however it comes."""
    expected = Done(value, len(data))
    for spelled in (data, bytearray(data), memoryview(data)):
        case.assertEqual(parse(spelled), expected)
    case.assertEqual(trickled(parse, data), expected)
    for cut in range(len(data)):
        verdict = parse(data[:cut])
        case.assertIsInstance(verdict, NeedMore, f"of the first {cut} bytes")
        case.assertTrue(cut < verdict.at_least <= len(data), f"{verdict} of the first {cut} bytes")
    for trailing in TRAILING:
        case.assertEqual(parse(data + trailing), expected)


def check_refused(case, parse, data):
    """``data`` is malformed however it comes; once that is certain, it stays so. Returns the reason."""
    verdict = parse(data)
    case.assertIsInstance(verdict, Malformed, data[:200])
    case.assertTrue(verdict.why.isascii() and verdict.why.isprintable())
    certain = False
    for cut in range(len(data)):
        early = parse(data[:cut])
        case.assertFalse(isinstance(early, Done), f"of the first {cut} bytes")
        case.assertFalse(certain and isinstance(early, NeedMore), f"changed its mind at {cut}")
        certain = isinstance(early, Malformed)
    case.assertIsInstance(trickled(parse, data), Malformed)
    for trailing in TRAILING:
        case.assertIsInstance(parse(data + trailing), Malformed)
    return verdict.why


def check_sound(case, parse, data):
    """Whatever ``data`` is: no exception, and no later byte takes an answer back."""
    settled = None
    for cut in sorted({min(1, len(data)), len(data) // 3, len(data) // 2, max(len(data) - 1, 0), len(data)}):
        verdict = parse(data[:cut])
        case.assertIsInstance(verdict, (Done, NeedMore, Malformed))
        if settled is not None:
            case.assertIs(type(verdict), type(settled), f"changed its mind at {cut}")
            case.assertTrue(isinstance(verdict, Malformed) or verdict == settled)
        elif isinstance(verdict, NeedMore):
            case.assertGreater(verdict.at_least, cut)
        else:
            settled = verdict


def damaged(*samples):
    """Bytes like ``samples``, but cut short, with some overwritten, and with rubbish behind."""

    def damage(sample, cut, places, behind):
        data = bytearray(sample[: cut % (len(sample) + 1)] if cut else sample)
        for place, byte in places:
            if data:
                data[place % len(data)] = byte
        return bytes(data) + behind

    places = st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=4)
    crafted = st.builds(
        damage, st.sampled_from(samples), st.integers(0, 5000), places, st.binary(max_size=40)
    )
    return crafted | st.binary(max_size=200)
