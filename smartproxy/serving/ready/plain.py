"""Handlers without an application protocol: echo (RFC 862), discard (RFC 863), and a fixed answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smartproxy.serving.connection import Connection, Serve


async def echo(connection: Connection) -> None:
    """Send back every byte received, until the client's FIN."""
    while data := await connection.read():
        await connection.write(data)


async def discard(connection: Connection) -> None:
    """Read and discard, until the client's FIN.

    It never answers, like a stuck connection: set ``stuckDetection: false`` on its route.
    """
    while await connection.read():
        pass


def respond(answer: bytes) -> Serve:
    """A handler that sends ``answer``, whatever the client sends, and closes.

    :raises TypeError: where ``answer`` is not bytes.
    """
    if not isinstance(answer, bytes):
        raise TypeError(f"answer must be bytes (got {type(answer).__name__})")

    async def serve(connection: Connection) -> None:
        await connection.write(answer)

    return serve
