"""Odd and hostile answers of a target: a name, the bytes, and what a client gets of them.

``outcome`` is the status of a whole answer; ``cut`` where the client's connection is reset within it; empty where more is to
come. ``kept`` is whether the connection to the target is used again. ``ends`` is what the target does behind the bytes.
"""

from __future__ import annotations

from typing import NamedTuple


class HostileAnswer(NamedTuple):
    name: str
    data: bytes
    outcome: str
    kept: bool = False
    ends: str = ""
    method: bytes = b"GET"


def _ok(*fields, body=b"", line=b"HTTP/1.1 200 OK"):
    return b"\r\n".join([line, *fields, b"", b""]) + body


_CL = b"Content-Length: "
_CHUNKED = b"Transfer-Encoding: chunked"
_BODY = b"3\r\nabc\r\n0\r\n\r\n"
_SECOND = _ok(_CL + b"4", body=b"evil")
_HINTS = _ok(b"Link: </a>", line=b"HTTP/1.1 103 Early Hints")

_WHOLE = [
    HostileAnswer(name, data, "200", kept=True)
    for name, data in [
        ("length", _ok(_CL + b"3", body=b"abc")),
        ("length with zeros", _ok(_CL + b"003", body=b"abc")),
        ("length zero", _ok(_CL + b"0")),
        ("chunks", _ok(_CHUNKED, body=_BODY)),
        ("chunks in capitals", _ok(b"TRANSFER-ENCODING: CHUNKED", body=_BODY)),
        ("chunks with extensions", _ok(_CHUNKED, body=b"3;a=b\r\nabc\r\n0;c\r\n\r\n")),
        ("chunks with trailers", _ok(_CHUNKED, body=b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n")),
        ("chunks with trailers that frame", _ok(_CHUNKED, body=b"3\r\nabc\r\n0\r\nContent-Length: 9\r\n\r\n")),
        ("no reason", _ok(_CL + b"3", line=b"HTTP/1.1 200 ", body=b"abc")),
        ("no blank behind the status", _ok(_CL + b"3", line=b"HTTP/1.1 200", body=b"abc")),
        ("reason with high bytes", _ok(_CL + b"3", line=b"HTTP/1.1 200 \xe9", body=b"abc")),
        ("fields of one hop", _ok(_CL + b"3", b"Keep-Alive: 5", b"Connection: X-A", b"X-A: 1", body=b"abc")),
        ("Connection: Content-Length", _ok(_CL + b"3", b"Connection: Content-Length", body=b"abc")),
        ("Upgrade offered", _ok(_CL + b"3", b"Connection: Upgrade", b"Upgrade: h2c", body=b"abc")),
        ("HTTP/1.0 that persists", _ok(_CL + b"3", b"Connection: keep-alive", line=b"HTTP/1.0 200 OK", body=b"abc")),
        ("103 before", _HINTS + _ok(_CL + b"3", body=b"abc")),
        ("50 times 103 before", _HINTS * 50 + _ok(_CL + b"3", body=b"abc")),
        ("100 unasked before", b"HTTP/1.1 100 Continue\r\n\r\n" + _ok(_CL + b"3", body=b"abc")),
        ("102 and 103 before", b"HTTP/1.1 102 Processing\r\n\r\n" + _HINTS + _ok(_CL + b"3", body=b"abc")),
        ("103 with fields of one hop", _ok(b"Connection: close, X-A", b"X-A: 1", line=b"HTTP/1.1 103 x") + _ok(_CL + b"3", body=b"abc")),
    ]
]  # fmt: skip

_ONCE = [
    HostileAnswer(name, data, "200", ends=ends)
    for name, data, ends in [
        ("Connection: close", _ok(_CL + b"3", b"Connection: close", body=b"abc"), ""),
        ("Connection: close in a list", _ok(_CL + b"3", b"Connection: x, CLOSE", body=b"abc"), ""),
        ("HTTP/1.0", _ok(_CL + b"3", line=b"HTTP/1.0 200 OK", body=b"abc"), ""),
        ("until the end", _ok(body=b"abc"), "fin"),
        ("until the end, empty", _ok(), "fin"),
        ("until the end, that looks like an answer", _ok(body=_SECOND), "fin"),
        ("HTTP/1.0 until the end", _ok(line=b"HTTP/1.0 200 OK", body=b"abc"), "fin"),
        ("more than its length", _ok(_CL + b"3", body=b"abcd"), ""),
        ("a second answer behind", _ok(_CL + b"3", body=b"abc") + _SECOND, ""),
        ("a second answer behind chunks", _ok(_CHUNKED, body=_BODY) + _SECOND, ""),
        ("a line break behind", _ok(_CL + b"3", body=b"abc\r\n"), ""),
        ("103 behind", _ok(_CL + b"3", body=b"abc") + _HINTS, ""),
        ("a body of length zero", _ok(_CL + b"0", body=b"abc"), ""),
    ]
]

_BODILESS = [
    HostileAnswer("HEAD with length", _ok(_CL + b"3"), "200", kept=True, method=b"HEAD"),
    HostileAnswer("HEAD with chunks", _ok(_CHUNKED), "200", kept=True, method=b"HEAD"),
    HostileAnswer("HEAD without framing", _ok(), "200", kept=True, method=b"HEAD"),
    HostileAnswer("HEAD with a body", _ok(_CL + b"3", body=b"abc"), "200", method=b"HEAD"),
    HostileAnswer("HEAD with a second answer", _ok(_CL + b"64") + _SECOND, "200", method=b"HEAD"),
    HostileAnswer("204", _ok(line=b"HTTP/1.1 204 No Content"), "204", kept=True),
    HostileAnswer("204 with a body", _ok(_CL + b"3", line=b"HTTP/1.1 204 x", body=b"abc"), "204"),
    HostileAnswer("204 with chunks", _ok(_CHUNKED, line=b"HTTP/1.1 204 x", body=_BODY), "204"),
    HostileAnswer("204 with length zero", _ok(_CL + b"0", line=b"HTTP/1.1 204 x"), "204", kept=True),
    HostileAnswer("304 with length", _ok(_CL + b"3", line=b"HTTP/1.1 304 x"), "304", kept=True),
    HostileAnswer("304 with a body", _ok(_CL + b"3", line=b"HTTP/1.1 304 x", body=b"abc"), "304"),
    HostileAnswer("304 with a second answer", _ok(line=b"HTTP/1.1 304 x") + _SECOND, "304"),
    HostileAnswer("205 with a body", _ok(_CL + b"3", line=b"HTTP/1.1 205 x", body=b"abc"), "205", kept=True),
]

_REFUSED = [
    HostileAnswer(name, data, "502")
    for name, data in [
        ("CL and TE", _ok(_CL + b"3", _CHUNKED, body=_BODY)),
        ("TE and CL", _ok(_CHUNKED, _CL + b"3", body=_BODY)),
        ("CL twice, different", _ok(_CL + b"3", _CL + b"4", body=b"abcd")),
        ("CL twice, equal", _ok(_CL + b"3", _CL + b"3", body=b"abc")),
        ("CL as a list", _ok(_CL + b"3, 3", body=b"abc")),
        ("CL with a sign", _ok(_CL + b"+3", body=b"abc")),
        ("CL negative", _ok(_CL + b"-3", body=b"abc")),
        ("CL hexadecimal", _ok(_CL + b"0x3", body=b"abc")),
        ("CL empty", _ok(_CL, body=b"abc")),
        ("CL over 2**63", _ok(_CL + b"9223372036854775808", body=b"abc")),
        ("TE gzip, chunked", _ok(b"Transfer-Encoding: gzip, chunked", body=_BODY)),
        ("TE identity", _ok(b"Transfer-Encoding: identity", body=b"abc")),
        ("TE twice", _ok(_CHUNKED, _CHUNKED, body=_BODY)),
        ("TE in HTTP/1.0", _ok(_CHUNKED, line=b"HTTP/1.0 200 OK", body=_BODY)),
        ("TE with a vertical tab", _ok(b"Transfer-Encoding:\x0bchunked", body=_BODY)),
        ("TE with a blank before the colon", _ok(b"Transfer-Encoding : chunked", body=_BODY)),
        ("a folded line", _ok(b"X: a\r\n b", _CL + b"3", body=b"abc")),
        ("LF alone", b"HTTP/1.1 200 OK\nContent-Length: 3\n\nabc\r\n\r\n"),
        ("LF alone behind a field", _ok(b"X: a\nContent-Length: 3", body=b"abc")),
        ("CR alone in a value", _ok(b"X: a\rb", _CL + b"3", body=b"abc")),
        ("NUL in a value", _ok(b"X: a\0b", _CL + b"3", body=b"abc")),
        ("NUL in the reason", _ok(_CL + b"3", line=b"HTTP/1.1 200 \0", body=b"abc")),
        ("ESC in the reason", _ok(_CL + b"3", line=b"HTTP/1.1 200 \x1b[1m", body=b"abc")),
        ("no colon", _ok(b"X", _CL + b"3", body=b"abc")),
        ("no name", _ok(b": x", _CL + b"3", body=b"abc")),
        ("a blank in a name", _ok(b"X Y: z", _CL + b"3", body=b"abc")),
        ("101 fields", _ok(*[b"X: y"] * 100, _CL + b"3", body=b"abc")),
        ("70 KB of head", _ok(b"X: " + b"y" * 70_000, _CL + b"3", body=b"abc")),
        ("version 0.9", b"hello, world\r\n\r\n"),
        ("version 2", _ok(_CL + b"3", line=b"HTTP/2 200 OK", body=b"abc")),
        ("version 1.2", _ok(_CL + b"3", line=b"HTTP/1.2 200 OK", body=b"abc")),
        ("version in lower case", _ok(_CL + b"3", line=b"http/1.1 200 OK", body=b"abc")),
        ("status of two digits", _ok(_CL + b"3", line=b"HTTP/1.1 20 OK", body=b"abc")),
        ("status of four digits", _ok(_CL + b"3", line=b"HTTP/1.1 2000 OK", body=b"abc")),
        ("status 000", _ok(_CL + b"3", line=b"HTTP/1.1 000 OK", body=b"abc")),
        ("status 600", _ok(_CL + b"3", line=b"HTTP/1.1 600 OK", body=b"abc")),
        ("status with a sign", _ok(_CL + b"3", line=b"HTTP/1.1 +20 OK", body=b"abc")),
        ("two blanks before the status", _ok(_CL + b"3", line=b"HTTP/1.1  200 OK", body=b"abc")),
        ("a tab before the status", _ok(_CL + b"3", line=b"HTTP/1.1\t200 OK", body=b"abc")),
        ("an empty line before", b"\r\n" + _ok(_CL + b"3", body=b"abc")),
        ("a blank before", b" " + _ok(_CL + b"3", body=b"abc")),
        ("101 unasked", b"HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + _SECOND),
        ("101 behind 103", _HINTS + b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n" + _SECOND),
        ("103 with CR in a value", b"HTTP/1.1 103 x\r\nLink: a\rb\r\n\r\n" + _ok(_CL + b"3", body=b"abc")),
        ("103 with both framings", b"HTTP/1.1 103 x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n" + _SECOND),
        ("a request", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("SSH", b"SSH-2.0-OpenSSH\r\n"),
        ("TLS alert", b"\x15\x03\x01\x00\x02\x02\x46"),
        ("204 with both framings", _ok(_CL + b"3", _CHUNKED, line=b"HTTP/1.1 204 x")),
    ]
]  # fmt: skip

_ENDS = [
    HostileAnswer("nothing, FIN", b"", "502", ends="fin"),
    HostileAnswer("nothing, RST", b"", "502", ends="rst"),
    HostileAnswer("a part of a head, FIN", b"HTTP/1.1 200 OK\r\nX", "502", ends="fin"),
    HostileAnswer("a part of a head, RST", b"HTTP/1.1 200 OK\r\nX", "502", ends="rst"),
    HostileAnswer("103 and FIN", _HINTS, "502", ends="fin"),
    HostileAnswer("a part of a length, FIN", _ok(_CL + b"9", body=b"abc"), "cut", ends="fin"),
    HostileAnswer("a part of a length, RST", _ok(_CL + b"9", body=b"abc"), "cut", ends="rst"),
    HostileAnswer("no body of a length, FIN", _ok(_CL + b"9"), "cut", ends="fin"),
    HostileAnswer("until the end, RST", _ok(body=b"abc"), "cut", ends="rst"),
    HostileAnswer("chunks without the last, FIN", _ok(_CHUNKED, body=b"3\r\nabc\r\n"), "cut", ends="fin"),
    HostileAnswer("chunks without the last line, FIN", _ok(_CHUNKED, body=b"3\r\nabc\r\n0\r\n"), "cut", ends="fin"),
    HostileAnswer("chunks cut in a trailer, FIN", _ok(_CHUNKED, body=b"0\r\nX: a"), "cut", ends="fin"),
    HostileAnswer("chunks cut in a chunk, RST", _ok(_CHUNKED, body=b"9\r\nabc"), "cut", ends="rst"),
    HostileAnswer("a chunk's size with a sign", _ok(_CHUNKED, body=b"+3\r\nabc\r\n0\r\n\r\n"), "cut"),
    HostileAnswer("a chunk's size with 0x", _ok(_CHUNKED, body=b"0x3\r\nabc\r\n0\r\n\r\n"), "cut"),
    HostileAnswer("a chunk's size over 64 bits", _ok(_CHUNKED, body=b"10000000000000003\r\nabc"), "cut"),
    HostileAnswer("a chunk longer than its size", _ok(_CHUNKED, body=b"3\r\nabcd\r\n0\r\n\r\n"), "cut"),
    HostileAnswer("LF alone in chunks", _ok(_CHUNKED, body=b"3\nabc\n0\n\n"), "cut"),
    HostileAnswer("an answer in the place of chunks", _ok(_CHUNKED, body=_SECOND), "cut"),
    HostileAnswer("10 KB of trailers", _ok(_CHUNKED, body=b"0\r\n" + b"X: 12345678\r\n" * 900 + b"\r\n"), "cut"),
    HostileAnswer("a part of a length", _ok(_CL + b"9", body=b"abc"), ""),
    HostileAnswer("103 and nothing", _HINTS, ""),
    HostileAnswer("until the end, no end", _ok(body=b"abc"), ""),
]  # fmt: skip

ANSWERS = [*_WHOLE, *_ONCE, *_BODILESS, *_REFUSED, *_ENDS]
