"""How every parser is tested: TCP delivers bytes in pieces of any size, and the verdict must not depend on them.

In one piece, byte by byte as a caller does it, cut at every offset, and with bytes behind: :func:`check` does all
four for valid bytes, :func:`check_refused` for malformed ones.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st

from smartproxy.wire.verdict import Done, Malformed, NeedMore

#: For every property: the same examples in each run, and no clock.
PROPERTY = settings(max_examples=150, derandomize=True, database=None)

TRAILING = (b"\x00", b"\r\n", b"PROXY UNKNOWN\r\n", b"\x16\x03\x01\x00\x01\x01", b"x" * 70_000)


def trickled(parse, data):
    """The first verdict other than ``NeedMore`` while ``data`` arrives in single bytes; ``None`` for none.

    Like every caller it does not parse again before ``at_least`` bytes are there.
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


class Measured(bytearray):
    """Received bytes that count how many of them a parser looks at."""

    seen = 0

    def __getitem__(self, key):
        found = super().__getitem__(key)
        self.seen += len(found) if isinstance(key, slice) else 1
        return found

    def find(self, wanted, begin=0, end=None):
        self.seen += max(min(len(self), len(self) if end is None else end) - begin, 0)
        return super().find(wanted, begin, len(self) if end is None else end)


def check_remembers(case, parser, parse, data):
    """Assert that one ``parser``, called with each prefix of ``data``, gives the verdicts of ``parse``.

    :return: how many bytes it has looked at.
    """
    received = Measured()
    for byte in data:
        received.append(byte)
        verdict = parser(received)
        expected = parse(bytes(received))
        case.assertEqual(verdict, expected, f"of the first {len(received)} bytes")
        if not isinstance(verdict, NeedMore):
            break
    return received.seen


def work(parser, data, size):
    """How many bytes ``parser`` looks at while ``data`` is received in pieces of ``size``; and its last verdict."""
    received = Measured()
    for at in range(0, len(data), size):
        received += data[at : at + size]
        verdict = parser(received)
        if not isinstance(verdict, NeedMore):
            break
    return received.seen, verdict


def check(case, parse, data, value):
    """Assert that all of ``data``, and nothing less, is parsed as ``value``."""
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
    """Assert that ``data`` is malformed, and stays so with more bytes. Returns the reason."""
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
    """Assert that ``data`` raises no exception, and that no later byte changes a verdict."""
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
    """A strategy for ``samples`` truncated, with some bytes overwritten, and with random bytes behind."""

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
