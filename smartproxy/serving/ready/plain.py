"""The simplest of them: RFC 862 (echo), RFC 863 (discard), and the same bytes for everybody."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smartproxy.serving.connection import Connection, Serve


async def echo(connection: Connection) -> None:
    """Send back what comes, until the client has ended."""
    while data := await connection.read():
        await connection.write(data)


async def discard(connection: Connection) -> None:
    """Read and throw away, until the client has ended.

    It never answers, which is what a stuck connection looks like: its route should say ``stuckDetection: false``.
    """
    while await connection.read():
        pass


def respond(answer: bytes) -> Serve:
    """Send ``answer``, whatever the client says, and close."""
    if not isinstance(answer, bytes):
        raise TypeError(f"respond takes bytes, not {type(answer).__name__}")

    async def serve(connection: Connection) -> None:
        await connection.write(answer)

    return serve
