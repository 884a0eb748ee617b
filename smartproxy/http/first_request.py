"""Answers to connections that are refused before they are served as HTTP, whose first bytes are a request, or the begin of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.http.errors import NO_PAGES, error_answer
from smartproxy.http.refusals import malformed_head
from smartproxy.wire import http_head
from smartproxy.wire.verdict import Done, Malformed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smartproxy.model.plan import ErrorPage


def answer_to_first(
    status: int, held: bytes | bytearray, pages: Mapping[int, ErrorPage] = NO_PAGES, *, text: str = ""
) -> bytes:
    """The answer to a request that is refused for ``status``; the connection ends with it.

    :param held: the first bytes.
    :param pages: by status.
    :param text: what is wrong, for the client; empty is the phrase of the status.
    """
    head = http_head.parse(held)
    if not isinstance(head, Done):
        return error_answer(status, pages=pages, text=text, to_head=method_of(held) == "HEAD")
    accept, method = head.value.fields.values("accept"), head.value.method
    return error_answer(status, accept, pages, text=text, to_head=method == "HEAD")


def answer_to_begun(held: bytes | bytearray, pages: Mapping[int, ErrorPage] = NO_PAGES) -> bytes:
    """The answer to a request whose head is malformed, or was not complete in time."""
    head, to_head = http_head.parse(held), method_of(held) == "HEAD"
    if isinstance(head, Malformed):
        return error_answer(http_head.status_of(head), pages=pages, text=head.why, to_head=to_head)
    return error_answer(408, pages=pages, to_head=to_head)


def method_of(held: bytes | bytearray) -> str:
    """The method of a request, for the metrics; empty where there is none."""
    return malformed_head(bytes(held[:64])).method
