"""Readers of HTTP/1 that judge what the proxy sends: one that is stricter than any server, h11 and httptools.

``written`` accepts requests in the one way in which the proxy may write them. ``by_h11`` and ``by_httptools`` read what a client
has sent as two other servers would. ``answers`` is a client that accepts well-formed answers only.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import h11
import httptools

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_LINE = re.compile(rb"(%b) (/[!-~]*|\*) HTTP/1\.1" % _TOKEN)
_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) [\t -~\x80-\xff]*")
_FIELD = re.compile(rb"(%b):[\t ]*([\t -~\x80-\xff]*?)[\t ]*" % _TOKEN)
_NUMBER = re.compile(rb"[0-9]+")
#: Of one connection, so that the proxy must not pass them on.
_OF_ONE_HOP = {b"keep-alive", b"proxy-connection", b"te", b"proxy"}
_BODILESS = {b"204", b"304"}


class Read(NamedTuple):
    """A message: the method and target of a request, or the status of an answer; its body; its fields."""

    method: bytes
    target: bytes
    body: bytes
    fields: tuple[tuple[bytes, bytes], ...] = ()


class Reading(NamedTuple):
    """What a server reads.

    :ivar requests: those that are complete.
    :ivar stops: whether it says nothing about what follows, though nothing is malformed.
    """

    requests: list[Read]
    stops: bool = False


def _head(data):
    """First line, fields and the rest; ``None`` where the head is not complete.

    :raises ValueError: where it is malformed.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        return None
    line, *lines = head.split(b"\r\n")
    found = [_FIELD.fullmatch(each) for each in lines]
    if None in found:
        raise ValueError(f"not fields: {lines}")
    return line, tuple((each[1].lower(), each[2]) for each in found), rest


def _one(fields, name):
    """The value of a field that may be there once.

    :raises ValueError: where it is there twice.
    """
    values = [value for found, value in fields if found == name]
    if len(values) > 1:
        raise ValueError(f"{name} twice: {values}")
    return values[0] if values else None


def _framed(fields, rest, *, is_answer):
    """The body and the rest, ``None`` where the body is not complete, or a text where it ends with the connection.

    :raises ValueError: where it has two framings, or another one.
    """
    length, coding = _one(fields, b"content-length"), _one(fields, b"transfer-encoding")
    if length is not None and coding is not None:
        raise ValueError("both framings")
    if coding is not None:
        if coding != b"chunked":
            raise ValueError(f"coding {coding}")
        return _unchunked(rest)
    if length is None:
        return "until the end" if is_answer else (b"", rest)
    if not _NUMBER.fullmatch(length):
        raise ValueError(f"length {length}")
    count = int(length)
    return None if len(rest) < count else (rest[:count], rest[count:])


def _unchunked(rest):
    body = b""
    while True:
        line, end, rest = rest.partition(b"\r\n")
        if not end:
            return None
        if not re.fullmatch(rb"[1-9a-f][0-9a-f]*|0", line):
            raise ValueError(f"chunk size {line}")
        size = int(line, 16)
        if not size:
            break
        if len(rest) < size + 2:
            return None
        if rest[size : size + 2] != b"\r\n":
            raise ValueError(f"behind a chunk: {rest[size:][:9]}")
        body, rest = body + rest[:size], rest[size + 2 :]
    while not rest.startswith(b"\r\n"):
        line, end, rest = rest.partition(b"\r\n")
        if not end:
            return None
        if not _FIELD.fullmatch(line):
            raise ValueError(f"a trailer: {line}")
    return body, rest[2:]


def written(data):
    """The complete requests in what a target was sent, and the bytes behind them.

    :raises ValueError: where one is not written in the one way.
    """
    requests = []
    while (parsed := _head(data)) is not None:
        line, fields, rest = parsed
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"a request line: {line}")
        _refuse_fields(fields)
        framed = _framed(fields, rest, is_answer=False)
        if framed is None:
            break
        requests.append(Read(match[1], match[2], framed[0], fields))
        data = framed[1]
    return requests, data


def _refuse_fields(fields):
    names = {name for name, _ in fields}
    if _one(fields, b"host") is None:
        raise ValueError("no Host")
    if names & _OF_ONE_HOP:
        raise ValueError(f"of one hop: {names & _OF_ONE_HOP}")
    connection, upgrade = _one(fields, b"connection"), _one(fields, b"upgrade")
    if (connection is not None or upgrade is not None) and (connection != b"Upgrade" or not upgrade):
        raise ValueError(f"Connection: {connection}, Upgrade: {upgrade}")


def answers(data, methods, *, ended):
    """The final answers in what a client of HTTP/1.1 has received.

    :param methods: of the requests that are answered; further ones are GET.
    :param ended: whether the connection ended, which ends a body without a framing.
    :raises ValueError: where one is malformed, or a part of one is left.
    """
    found, methods = [], iter(methods)
    while data:
        parsed = _head(data)
        if parsed is None:
            raise ValueError(f"a part of a head: {data[:60]}")
        line, fields, rest = parsed
        match = _STATUS_LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"a status line: {line}")
        if match[1].startswith(b"1"):
            data = rest
            continue
        if next(methods, b"GET") == b"HEAD" or match[1] in _BODILESS:
            framed = (b"", rest)
            _framed(fields, b"", is_answer=True)
        else:
            framed = _framed(fields, rest, is_answer=True)
        if framed == "until the end":
            framed = (rest, b"") if ended else None
        if framed is None:
            raise ValueError(f"a part of an answer: {data[:60]}")
        found.append(Read(match[1], b"", framed[0], fields))
        data = framed[1]
    return found


def by_h11(data):
    """What h11 reads as a server that answers each request when it is complete."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=100_000)
    connection.receive_data(data)
    requests, current, body = [], None, b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                current, body = event, b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                requests.append(Read(bytes(current.method), bytes(current.target), body))
                status = 405 if current.method == b"CONNECT" else 200
                connection.send(h11.Response(status_code=status, headers=[("Content-Length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is h11.MUST_CLOSE:
                    return Reading(requests, stops=True)
                connection.start_next_cycle()
            else:
                return Reading(requests)
    except h11.RemoteProtocolError:
        return Reading(requests)


class _Callbacks:
    """What httptools calls."""

    def __init__(self):
        self.requests = []
        self.parser = None

    def on_message_begin(self):
        self.target, self.body = b"", b""

    def on_url(self, url):
        self.target += url

    def on_body(self, body):
        self.body += body

    def on_message_complete(self):
        self.requests.append(Read(self.parser.get_method(), self.target, self.body))


def by_httptools(data):
    """What llhttp, the parser of Node, reads."""
    callbacks = _Callbacks()
    callbacks.parser = httptools.HttpRequestParser(callbacks)
    try:
        callbacks.parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        return Reading(callbacks.requests, stops=True)
    except httptools.HttpParserError:
        pass
    return Reading(callbacks.requests, stops=not callbacks.parser.should_keep_alive())
