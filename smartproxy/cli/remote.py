"""The commands that send one request to a running proxy: ``reload``, ``drain``, ``connections``.

The reactor runs until the reply is printed, under :func:`twisted.internet.task.react`.

:mod:`smartproxy.cli.admin_address` finds the admin listener that they talk to.

Exit codes: 0 success, 1 no reply or a refusal, 2 wrong usage or an invalid configuration, 3 a port could not be bound.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, NoReturn

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text
from twisted.internet import task

from smartproxy.cli.admin_address import admin_options
from smartproxy.cli.admin_client import WRONG_ONE, call, printable
from smartproxy.errors import AdminRequestFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from smartproxy.cli.admin_client import AdminClient, ICommandReactor, JsonObject

_COLUMNS = (
    "id",
    "state",
    "route",
    "client",
    "target",
    "request",
    "protocol",
    "relay",
    "received",
    "sent",
    "opened",
)
#: Width of a table in characters when standard output is not a terminal.
_PIPE_WIDTH = 200


def run(command: Callable[[ICommandReactor], Awaitable[None]], admin: AdminClient) -> NoReturn:
    """Run ``command``, which talks to ``admin``, under the reactor, and exit.

    The message of an :exc:`AdminRequestFailed` goes to standard error.

    :raises OSError: if its output cannot be written; click exits with 1 where the reader of a pipe has closed it.
    """
    unwritable: list[OSError] = []

    async def main(reactor: ICommandReactor) -> None:
        try:
            await _understood(command(reactor), admin)
        except AdminRequestFailed as unanswered:
            click.echo(unanswered, err=True)
            raise SystemExit(unanswered.exit_code) from None
        except OSError as failed:  # of standard output: failures of requests are AdminRequestFailed
            unwritable.append(failed)

    try:
        task.react(main)
    finally:
        if unwritable:
            raise unwritable[0]


async def _understood(command: Awaitable[None], admin: AdminClient) -> None:
    """Await ``command``. A reply may lack what it needs: of another server, or another version of the proxy.

    :raises AdminRequestFailed: in that case.
    """
    try:
        await command
    except (KeyError, TypeError, AttributeError) as missing:
        raise AdminRequestFailed(
            f"{admin.name} is not a proxy of this version: {missing}", WRONG_ONE
        ) from missing


@click.command(short_help="Reload the configuration of a running proxy.")
@admin_options
def reload(admin: AdminClient) -> None:
    """Reload the configuration of a running proxy.

    If the configuration is invalid, its problems are printed and the current configuration stays in force.
    """

    async def request(reactor: ICommandReactor) -> None:
        reply = await call(reactor, admin, "POST", "/api/v1/reload")
        click.echo(f"reloaded; routes in force: {printable(reply['routes'])}")
        waiting = reply.get("waitingForRestart")
        if waiting:
            click.echo(f"changed settings wait for a restart: {printable(', '.join(waiting))}")

    run(request, admin)


@click.command(short_help="Stop accepting connections; open ones continue.")
@admin_options
def drain(admin: AdminClient) -> None:
    """Stop accepting connections; open ones continue. Only a restart undoes it."""

    async def request(reactor: ICommandReactor) -> None:
        reply = await call(reactor, admin, "POST", "/api/v1/drain")
        click.echo(f"{printable(reply['status'])}: no new connections are accepted")

    run(request, admin)


@click.command(short_help="List the live connections.")
@admin_options
@click.option("--route", help="Only connections of this route.")
@click.option("--client-ip", help="Only connections of this client.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Number of connections at most.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the reply of the admin API as JSON.")
def connections(
    *, admin: AdminClient, route: str | None, client_ip: str | None, limit: int, as_json: bool
) -> None:
    """List the live connections, oldest first."""
    query = {"route": route, "clientIp": client_ip, "limit": str(limit)}

    async def request(reactor: ICommandReactor) -> None:
        given = {name: value for name, value in query.items() if value is not None}
        reply = await call(reactor, admin, "GET", "/api/v1/connections", given)
        if as_json:
            click.echo(json.dumps(reply, indent=2))
        else:
            _show(reply["connections"], reply["total"])

    run(request, admin)


def _show(shown: list[JsonObject], total: int) -> None:
    table = Table(
        *_COLUMNS, box=SIMPLE_HEAD, caption=f"{len(shown)} of {total}" if len(shown) < total else None
    )
    print_table(table_console(), table, map(_row, shown))


def table_console() -> Console:
    """Standard output, as wide as the terminal; a pipe gets lines of :data:`_PIPE_WIDTH`."""
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else _PIPE_WIDTH)


def print_table(console: Console, table: Table, rows: Iterable[Iterable[object]]) -> None:
    """Print ``rows`` without control characters."""
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console.print(table)


def _row(connection: JsonObject) -> tuple[object, ...]:
    host = connection["clientIp"]
    client = f"[{host}]:{connection['clientPort']}" if ":" in host else f"{host}:{connection['clientPort']}"
    keys = ("id", "state", "route", "target", "protocol", "relay", "bytesReceived", "bytesSent", "openedAt")
    number, state, route, target, *rest = (
        "-" if connection[key] is None else connection[key] for key in keys
    )
    return (number, state, route, client, target, _request(connection), *rest)


def _request(connection: JsonObject) -> str:
    """The HTTP request under way, or how many there were: ``GET a.example/path``, ``12 served``."""
    request, served = connection.get("request"), connection.get("requests")
    if request is None:
        return "-" if served is None else f"{served} served"
    return f"{request['method']} {request['host'] or ''}{request['path']}"
