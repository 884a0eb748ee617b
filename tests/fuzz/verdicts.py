"""Properties of every parser of ``smartproxy.wire``: of its verdicts on all beginnings of an input, and of its work."""

from __future__ import annotations

from smartproxy.wire.verdict import Done, Malformed, NeedMore
from tests.counting import counted
from tests.wire.ways import Measured

#: Inputs up to this length are cut at every offset, longer ones at so many.
_CUTS = 256

#: What follows a complete message must not change its verdict.
BEHIND = (b"\x00", b"\r\n\r\n", b"\x16\x03\x01\x00\x01\x01", b"\xff" * 40)

#: Most calls of Python functions in one parse: a fixed number, and so many for each byte.
_CALLS, _CALLS_PER_BYTE = 400, 40
#: Most bytes looked at in one parse, for each byte received; without the few of the heads that are read more than once.
_LOOKS, _LOOKS_PER_BYTE = 64, 8


def cuts(data):
    """The lengths to cut ``data`` at, 0 and its whole length included."""
    if len(data) <= _CUTS:
        return range(len(data) + 1)
    steps = {len(data) * step // _CUTS for step in range(_CUTS)}
    return sorted(steps | set(range(len(data) - 8, len(data) + 1)))


def check_verdicts(parse, data):
    """Assert what :mod:`smartproxy.wire.verdict` promises. Returns the verdict on all of ``data``."""
    decided = None
    wanted = 0
    for cut in cuts(data):
        verdict = parse(data[:cut])
        check_verdict(verdict, cut)
        if decided is None and isinstance(verdict, NeedMore):
            wanted = max(wanted, verdict.at_least)
        elif decided is None:
            assert not (isinstance(verdict, Done) and cut < wanted), f"done at {cut}, before {wanted}"
            decided = verdict
            _check_decided(parse, data[:cut], verdict)
        else:
            assert same(verdict, decided), f"{decided} became {verdict} at {cut}"
    return check_spellings(parse, data)


def check_verdict(verdict, size):
    """Assert that ``verdict`` is a possible one of ``size`` bytes."""
    if isinstance(verdict, Done):
        assert 0 <= verdict.consumed <= size, f"{verdict.consumed} of {size} bytes consumed"
    elif isinstance(verdict, NeedMore):
        assert verdict.at_least > size, f"{verdict.at_least} wanted with {size} received"
    else:
        assert isinstance(verdict, Malformed), f"no verdict: {verdict!r}"
        assert verdict.why.isascii(), verdict
        check_message(verdict.why)


def check_message(message):
    """Assert that ``message`` is one line for a terminal or a log: no controls, and nothing that UTF-8 cannot encode."""
    assert message, "an empty message"
    assert message.isprintable(), f"not one printable line: {message!r}"


def _check_decided(parse, data, verdict):
    """Assert that nothing behind ``data``, and nothing behind what it consumes, has an influence."""
    for behind in BEHIND:
        assert same(parse(data + behind), verdict), f"{behind!r} behind changed {verdict}"
    if isinstance(verdict, Done) and verdict.consumed:
        for behind in (b"", *BEHIND):
            assert parse(data[: verdict.consumed] + behind) == verdict, f"not of its own bytes: {verdict}"


def same(one, other):
    """Whether two verdicts are equal. The reason may change: more than one thing may be wrong."""
    return one == other or (isinstance(one, Malformed) and isinstance(other, Malformed))


def check_spellings(parse, data):
    """Assert that the type of the buffer has no influence, and that the work is linear. Returns the verdict."""
    measured = Measured(data)
    with counted() as calls:
        verdict = parse(measured)
    for spelled in (bytes(data), memoryview(data)):
        assert parse(spelled) == verdict, f"another verdict on {type(spelled)}"
    assert calls.count <= _CALLS + _CALLS_PER_BYTE * len(data), f"{calls.count} calls"
    assert measured.seen <= _LOOKS + _LOOKS_PER_BYTE * len(data), f"{measured.seen} of {len(data)} bytes seen"
    return verdict


def check_incremental(make_parser, parse, data):
    """Assert that a parser that remembers gives the verdicts of ``parse``: byte by byte, and in two pieces."""
    received, parser = Measured(), make_parser()
    for at in range(len(data)):
        received.append(data[at])
        verdict = parser(received)
        # In long inputs the comparison is the expensive part, which parses all bytes again.
        if at < _CUTS or not isinstance(verdict, NeedMore) or at + 1 == len(data):
            assert verdict == parse(bytes(received)), f"{verdict} of the first {at + 1} bytes"
        if not isinstance(verdict, NeedMore):
            break
    # One more look at a head of up to 64 bytes for each call, whatever the length is.
    assert received.seen <= 64 * (len(received) + 1), f"{received.seen} of {len(received)} bytes seen"
    whole = parse(data)
    for cut in cuts(data):
        parser = make_parser()
        if isinstance(parser(bytearray(data[:cut])), NeedMore):
            assert parser(bytearray(data)) == whole, f"cut at {cut}"
