"""Files of a directory (``type: static``).

GET and HEAD, conditions, one range, index files, compressed siblings. What has no file is 404, whatever the reason is: that it does
not exist, may not be read, is hidden, is outside of the root or has a path that no file may have. There are no listings.

Files are opened in the reactor's thread: a name that the kernel does not know takes one access to the disk. Their content is read
as :mod:`smartproxy.http.local.file_body` says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from smartproxy.http.body import LEAST_MOVED
from smartproxy.http.local import conditions
from smartproxy.http.local.answering import LocalAnswerer
from smartproxy.http.local.codings import SUFFIXES, codings, takes_html
from smartproxy.http.local.content_types import content_type
from smartproxy.http.local.file_body import FileBody
from smartproxy.http.local.file_names import file_name
from smartproxy.http.local.files_below import DIRECTORY, OpenFile, open_below
from smartproxy.http.local.ranges import ByteRange, NoRange, byte_range
from smartproxy.http.local.redirect import location_of_directory
from smartproxy.http.local.services import LocalAnswers
from smartproxy.wire.http_fields import Fields
from smartproxy.wire.http_response import phrase

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from smartproxy.http.interfaces import Answerer, AnswerReceiver
    from smartproxy.http.local.file_names import FileName
    from smartproxy.http.local.services import LocalServices
    from smartproxy.http.send_file import FileSending
    from smartproxy.model.exchange import Exchange

_METHODS: Final = frozenset({"GET", "HEAD"})
_ALLOW: Final = {"Allow": "GET, HEAD"}
_OK, _PARTIAL, _MOVED = 200, 206, 301
_NOT_MODIFIED, _NOT_FOUND, _NOT_ALLOWED, _UNSATISFIABLE, _UNAVAILABLE = 304, 404, 405, 416, 503


class FoundFile(NamedTuple):
    """A file to send.

    :ivar name: by which its type is known.
    :ivar coding: the content coding of its bytes; empty for none.
    """

    file: OpenFile
    name: bytes
    coding: str = ""


class StaticAnswers(LocalAnswers):
    """Answers with the files of a directory.

    :param root: the directory.
    :param index: names of the file that a directory is answered with, the first that exists.
    :param spa: whether a path without file gets the index of the root where a page is asked for.
    :param precompressed: whether siblings with ``.br``, ``.zst`` and ``.gz`` are sent to clients that take them.
    """

    def __init__(
        self,
        root: str,
        index: Sequence[str] = ("index.html",),
        *,
        spa: bool = False,
        precompressed: bool = True,
    ) -> None:
        self.root = root
        self.index = tuple(index)
        self.spa = spa
        self.precompressed = precompressed
        self._index_names = [name.encode() for name in index]

    def __call__(self, exchange: Exchange, client: AnswerReceiver, services: LocalServices) -> Answerer:
        """The answerer of one exchange."""
        return _StaticAnswerer(self, exchange, client, services)

    def opened(self, named: FileName) -> tuple[bool, FoundFile | None]:
        """Whether a path names a directory, and the file that it is answered with, where there is one.

        :raises OSError: as :func:`open_below`.
        """
        if not named.is_directory:
            opened = open_below(self.root, named.names)
            if opened is not DIRECTORY:
                return False, FoundFile(opened, named.names[-1]) if isinstance(opened, OpenFile) else None
        return True, self.index_of(named.names)

    def index_of(self, names: Sequence[bytes]) -> FoundFile | None:
        """The index of a directory.

        :raises OSError: as :func:`open_below`.
        """
        for index in self._index_names:
            found = open_below(self.root, (*names, index))
            if isinstance(found, OpenFile):
                return FoundFile(found, index)
        return None

    def compressed(self, found: FoundFile, names: Sequence[bytes], accepted: Sequence[str]) -> FoundFile:
        """The sibling of a file that a client likes best, or the file itself; the other one is closed.

        :raises OSError: as :func:`open_below`; the file is closed then, too.
        """
        try:
            for coding in codings(accepted):
                sibling = open_below(self.root, (*names[:-1], names[-1] + SUFFIXES[coding]))
                if isinstance(sibling, OpenFile):
                    found.file.close()
                    return FoundFile(sibling, found.name, coding)
        except OSError:
            found.file.close()
            raise
        return found


class _StaticAnswerer(LocalAnswerer):
    """Answers one request with a file."""

    def __init__(
        self, files: StaticAnswers, exchange: Exchange, client: AnswerReceiver, services: LocalServices
    ) -> None:
        super().__init__(exchange, client, services)
        self._files = files
        self._body: FileBody | None = None
        self._asked: dict[str, list[str]] = {}
        self._vary: list[str] = []

    # -- see Answerer --------------------------------------------------------------------------------

    def cancel(self) -> None:
        """The client has left: close the file."""
        super().cancel()
        body, self._body = self._body, None
        if body is not None:
            body.close()

    def pause_answer(self) -> None:
        """Read no more of the file."""
        if self._body is not None:
            self._body.pause()

    def resume_answer(self) -> None:
        """Read on."""
        if self._body is not None:
            self._body.resume()

    def respond(self) -> None:
        """Find the file, and send it."""
        head = self.exchange.head
        if head.method not in _METHODS:
            self.fail(_NOT_ALLOWED, f"files are not for {head.method}", _ALLOW)
            return
        for name, value in head.headers:
            self._asked.setdefault(name, []).append(value)
        try:
            found = self._found(self.exchange.rewritten.partition("?")[0] or head.path)
        except OSError as why:
            self.fail(_UNAVAILABLE, f"{self._files.root} cannot be read: {why}")
            return
        if found is not None:
            self._send(found)

    # -- finding -------------------------------------------------------------------------------------

    def _found(self, path: str) -> FoundFile | None:
        """The file to send; ``None`` where the answer was another one.

        :raises OSError: as :func:`open_below`.
        """
        files, named = self._files, file_name(path)
        if named is None:
            self.fail(_NOT_FOUND, "no file may have this path")
            return None
        is_directory, found = files.opened(named)
        # The links of a page are relative to the path that was received, whatever it was rewritten to.
        has_slash = self.exchange.head.path.endswith("/")
        if is_directory and not has_slash and (found is not None or not named.is_directory):
            if found is not None:
                found.file.close()
            self._redirect()
            return None
        names = (*named.names, found.name) if found and is_directory else named.names
        if found is None and files.spa:
            self._vary.append("Accept")
            found = files.index_of(()) if takes_html(self._asked.get("accept", ())) else None
            names = (found.name,) if found else ()
        if found is None:
            self.fail(_NOT_FOUND, "no such file")
        elif files.precompressed:
            self._vary.append("Accept-Encoding")
            found = files.compressed(found, names, self._asked.get("accept-encoding", ()))
        return found

    # -- sending -------------------------------------------------------------------------------------

    def _send(self, found: FoundFile) -> None:
        """Send it, or what the conditions and ranges of the request make of it."""
        file, asked = found.file, self._asked
        validators = conditions.Validators(file.modified, file.size, found.coding)
        status = conditions.status_by_conditions(asked, validators)
        fields = [("ETag", validators.tag), ("Last-Modified", validators.date), *self._varies()]
        if status is not None:
            file.close()
            if status == _NOT_MODIFIED:
                self.answer_whole(status, Fields.of(fields))
            else:
                self.fail(status, "the file is not the one that the client asks for")
            return
        span = self._range(validators, file.size)
        if isinstance(span, NoRange):
            file.close()
            self.fail(
                _UNSATISFIABLE, "the range is outside of the file", {"Content-Range": f"bytes */{file.size}"}
            )
            return
        fields += self._describing(found)
        if span is not None:
            fields.append(("Content-Range", f"bytes {span.start}-{span.start + span.length - 1}/{file.size}"))
        self._start(file, _OK if span is None else _PARTIAL, fields, span or ByteRange(0, file.size))

    def _range(self, validators: conditions.Validators, size: int) -> ByteRange | NoRange | None:
        """Only GET has ranges (RFC 9110, 14.2)."""
        values = self._asked.get("range")
        if not values or self.exchange.head.method != "GET":
            return None
        return byte_range(values, size) if conditions.range_is_wanted(self._asked, validators) else None

    def _start(self, file: OpenFile, status: int, fields: list[tuple[str, str]], span: ByteRange) -> None:
        """Send the head, and begin to send the body."""
        try:
            self.answer_head(status, Fields.of(fields), span.length)
        except BaseException:
            file.close()
            raise
        if not span.length or not self.has_body(status) or self.client is None:
            file.close()
            self.end()
            return
        services = self.services
        self._body = FileBody(
            file, span.start, span.length, self._send_rest, self._write, self._sent, self._cut, services.in_turn,
            services.in_thread,
        )  # fmt: skip
        self._body.resume()

    def _send_rest(self, fd: int, at: int, left: int, ended: Callable[[int], None]) -> FileSending | None:
        client = self.client
        if client is None or left < LEAST_MOVED:
            return None
        client.answer_flush()
        return self.services.splicer.send_file(fd, at, left, client.body_sink(), client.answer_moved, ended)

    def _write(self, data: bytes | memoryview) -> None:
        if self.client is not None:
            self.client.answer_data((memoryview(data),))

    def _sent(self) -> None:
        self._body = None
        self.end()

    def _cut(self, why: str) -> None:
        """The client was told a length, so that it takes what it has for a part."""
        self._body = None
        self.fail(500, why)

    def _redirect(self) -> None:
        """Redirect to the directory, with its slash."""
        where = ("Location", location_of_directory(self.exchange))
        text = ("Content-Type", "text/plain; charset=utf-8")
        self.answer_whole(_MOVED, Fields.of([where, text]), f"{phrase(_MOVED)}\n".encode())

    def _describing(self, found: FoundFile) -> list[tuple[str, str]]:
        coded = [("Content-Encoding", found.coding)] if found.coding else []
        return [("Content-Type", content_type(found.name)), *coded, ("Accept-Ranges", "bytes")]

    def _varies(self) -> list[tuple[str, str]]:
        return [("Vary", ", ".join(self._vary))] if self._vary else []
