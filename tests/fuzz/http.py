"""Fuzz targets of the parsers of HTTP messages: fields, framing, chunked bodies and answer heads."""

from __future__ import annotations

from smartproxy.wire import http_answer, http_framing
from smartproxy.wire.http_chunked import CHUNK_END, ChunkedDecoder, chunk_begin, last_chunk
from smartproxy.wire.http_fields import Fields
from smartproxy.wire.http_framing import Body
from smartproxy.wire.verdict import Done, Malformed
from tests.fuzz.verdicts import check_incremental, check_message, check_verdicts
from tests.fuzz.wire import reached

_NOTED = ("host", "content-length", "transfer-encoding", "connection", "expect", "upgrade", "te", "trailer")
#: A longer input is fed in two pieces at the cuts of its begin only.
_CUTS = 200
#: Bytes of the first chunk when the input is written as chunks: a size of two digits.
_FIRST = 17


def check_http_answer(data):
    verdict = check_verdicts(http_answer.parse, data)
    check_incremental(http_answer.AnswerParser, http_answer.parse, data)
    if isinstance(verdict, Done):
        head = verdict.value
        line = b"HTTP/1.%d %d" % (head.version[1], head.status)
        assert data.partition(b"\r\n")[0] in (line, line + b" " + head.reason)
        built = http_answer.build_head(head.status, head.reason, head.fields.block)
        if len(built) <= http_answer.HEAD_LIMIT:
            again = head._replace(version=(1, 1))
            assert http_answer.parse(built) == Done(again, len(built))
    return reached(verdict)


def check_http_fields(data):
    try:
        fields = Fields.parse(data)
    except ValueError:
        return 0
    assert Fields.of(fields.pairs()) == fields
    assert fields.without(()) == data
    assert len(fields) == len(fields.pairs())
    names = {name for name, _ in fields.pairs()}
    for name in (*names, *_NOTED):
        left = Fields.parse(fields.without({name.encode()}))
        assert left.pairs() == tuple(pair for pair in fields.pairs() if pair[0] != name)
    for name in _NOTED:
        assert fields.noted(name) == fields.values(name), f"two readings of {name}"
    return len(data)


def check_http_framing(data):
    """Input: a byte, whose lowest bit is the minor version, then fields."""
    try:
        fields = Fields.parse(data[1:])
    except ValueError:
        return 0
    version = (1, data[0] & 1 if data else 1)
    framing = http_framing.request_framing(fields, version)
    codings, lengths = fields.values("transfer-encoding"), fields.values("content-length")
    if isinstance(framing, Malformed):
        check_message(framing.why)
        assert codings or lengths
    elif framing.body is Body.CHUNKED:
        assert (version, [coding.lower() for coding in codings], lengths) == ((1, 1), ["chunked"], [])
    else:
        # Without a coding: one length, of digits, or none.
        assert not codings
        assert lengths in ([], [lengths[0].strip()] if lengths else [])
        assert framing.length == int(lengths[0] if lengths else "0")
        assert framing.body is (Body.LENGTH if framing.length else Body.NONE)
    _check_answer_framing(fields, version, framing)
    return len(data)


def _check_answer_framing(fields, version, of_request):
    """Assert that an answer is read as a request is, but for those that have no body, and those without a length."""
    for status, to_head in ((200, True), (204, False), (304, False), (101, False), (200, False)):
        framing = http_framing.answer_framing(fields, version, status, to_head=to_head)
        if isinstance(of_request, Malformed):
            assert framing == of_request
        elif to_head or status != 200:
            assert framing.body is Body.NONE
        elif fields.values("transfer-encoding") or fields.values("content-length"):
            assert framing == of_request
        else:
            assert framing.body is Body.UNTIL_CLOSE


def decoded(*received):
    """The verdict on a body that is received in these pieces, its data, and how many bytes belong to it."""
    decoder, pieces, consumed = ChunkedDecoder(), [], 0
    for data in received:
        verdict = decoder.feed(data, pieces)
        if isinstance(verdict, Malformed):
            return verdict, b"", 0
        consumed += len(data) if verdict is None else verdict.consumed
        if verdict is not None:
            return verdict.value, b"".join(pieces), consumed
    return None, b"".join(pieces), consumed


def check_http_chunked(data):
    pieces = [piece for piece in (data[:_FIRST], data[_FIRST:]) if piece]
    written = b"".join(chunk_begin(len(piece)) + piece + CHUNK_END for piece in pieces) + last_chunk()
    assert decoded(written) == (Fields(), data, len(written))
    verdict, body, consumed = whole = decoded(data)
    for cut in range(min(len(data), _CUTS)):
        assert decoded(data[:cut], data[cut:])[1:] == whole[1:], f"another body cut at {cut}"
        assert decoded(data[:cut], data[cut:])[0] == verdict or isinstance(verdict, Malformed)
    if isinstance(verdict, Malformed):
        check_message(verdict.why)
        return 0
    assert len(body) <= consumed <= len(data)
    if verdict is None:
        return consumed
    assert decoded(data[:consumed]) == whole
    chunk = chunk_begin(len(body)) + body + CHUNK_END if body else b""
    built = chunk + last_chunk(verdict.block)
    assert decoded(built + data) == (verdict, body, len(built))
    return consumed
