"""The commands that speak with a running proxy: ``reload``, ``drain``, ``connections``, ``certificates``.

Each is one question to the admin API and one answer on the terminal. The reactor runs for as long as that
takes, under :func:`twisted.internet.task.react`.

The admin listener is named by ``--admin``: a URL, or ``unix:PATH`` for a socket. What it wants as a token
comes from ``--token`` or ``SMARTPROXY_TOKEN``; the second does not show in a process list.

Exit codes: 0 done, 1 no answer or a refusal, 2 the proxy found its configuration invalid.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec
from urllib.parse import urlsplit

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text
from twisted.internet import task

from smartproxy.cli.admin_client import AdminClient, UnansweredError, ask, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

P = ParamSpec("P")

DEFAULT_ADMIN = "http://127.0.0.1:8404"
_COLUMNS = ("id", "state", "route", "client", "target", "protocol", "relay", "received", "sent", "opened")
_OF_CERTIFICATES = ("names", "expires", "kind", "", "ocsp", "source")
#: Characters of a table that no terminal bounds, as in a pipe.
_WIDE = 200


def speak(question: Callable[[Any], Coroutine[Any, Any, None]]) -> NoReturn:
    """Run the reactor for one question, print why where it fails, and exit."""

    async def main(reactor: Any) -> None:
        try:
            await question(reactor)
        except UnansweredError as unanswered:
            click.echo(unanswered, err=True)
            raise SystemExit(unanswered.exit_code) from None

    task.react(main)


def _checked_url(_context: click.Context, _option: click.Parameter, value: str) -> str:
    if value.startswith("unix:/") or (urlsplit(value).scheme in {"http", "https"} and urlsplit(value).netloc):
        return value
    raise click.BadParameter("must be http://HOST:PORT or unix:/PATH")


def admin_options(command: Callable[P, None]) -> Callable[P, None]:
    """``--admin`` and ``--token``, for a command that takes ``url`` and ``token``."""
    url = click.option(
        "--admin",
        "url",
        default=DEFAULT_ADMIN,
        show_default=True,
        callback=_checked_url,
        help="Where the proxy's admin listener is: a URL, or unix:/PATH.",
    )
    token = click.option(
        "--token", envvar="SMARTPROXY_TOKEN", show_envvar=True, help="The token of admin.token."
    )
    return url(token(command))


@click.command(short_help="Reload the configuration of a running proxy.")
@admin_options
def reload(url: str, token: str | None) -> None:
    """Have the proxy read its configuration again.

    An invalid configuration is printed with its problems, and the proxy goes on with the one it has.
    """

    async def question(reactor: Any) -> None:
        answer = await ask(reactor, AdminClient(url, token), "POST", "/api/v1/reload")
        click.echo(f"reloaded; routes in force: {answer.get('routes')}")

    speak(question)


@click.command(short_help="Stop accepting connections; open ones continue.")
@admin_options
def drain(url: str, token: str | None) -> None:
    """Have the proxy take no new connections; those that are there go on."""

    async def question(reactor: Any) -> None:
        await ask(reactor, AdminClient(url, token), "POST", "/api/v1/drain")
        click.echo("draining: no new connections are taken")

    speak(question)


@click.command(short_help="List the live connections.")
@admin_options
@click.option("--route", help="Only connections of this route.")
@click.option("--client-ip", help="Only connections of this client.")
@click.option("--limit", type=click.IntRange(min=1), default=1000, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="Print what the admin API says, as JSON.")
def connections(
    *, url: str, token: str | None, route: str | None, client_ip: str | None, limit: int, as_json: bool
) -> None:
    """Show the live connections, oldest first."""
    query = {"route": route, "clientIp": client_ip, "limit": str(limit)}

    async def question(reactor: Any) -> None:
        given = {name: value for name, value in query.items() if value is not None}
        answer = await ask(reactor, AdminClient(url, token), "GET", "/api/v1/connections", given)
        if as_json:
            click.echo(json.dumps(answer, indent=2))
        else:
            _show(answer["connections"], answer["total"])

    speak(question)


@click.command(short_help="List the certificates that clients are shown.")
@admin_options
@click.option("--json", "as_json", is_flag=True, help="Print what the admin API says, as JSON.")
def certificates(*, url: str, token: str | None, as_json: bool) -> None:
    """Show the certificates that clients are shown, those first that expire first."""

    async def question(reactor: Any) -> None:
        answer = await ask(reactor, AdminClient(url, token), "GET", "/api/v1/certificates")
        if as_json:
            click.echo(json.dumps(answer, indent=2))
        else:
            _print(Table(*_OF_CERTIFICATES, box=SIMPLE_HEAD), map(_certificate_row, answer["certificates"]))

    speak(question)


def _certificate_row(shown: dict[str, Any]) -> tuple[object, ...]:
    default = "default" if shown["default"] else ""
    return (
        ", ".join(shown["names"]),
        shown["notAfter"],
        shown["kind"],
        default,
        _staple(shown["ocsp"]),
        shown["source"],
    )


def _staple(ocsp: dict[str, Any]) -> str:
    """In a cell: until when, or else why not; that there is none needs no words."""
    status: str = ocsp["status"]
    words = {"good": f" until {ocsp['nextUpdate']}", "none": ""}
    return status + words.get(status, f": {ocsp['detail']}")


def _show(shown: list[dict[str, Any]], total: int) -> None:
    table = Table(
        *_COLUMNS, box=SIMPLE_HEAD, caption=f"{len(shown)} of {total}" if len(shown) < total else None
    )
    _print(table, map(_row, shown))


def _print(table: Table, rows: Iterable[Iterable[object]]) -> None:
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else _WIDE).print(table)


def _row(connection: dict[str, Any]) -> tuple[object, ...]:
    host = connection["clientIp"]
    client = f"[{host}]:{connection['clientPort']}" if ":" in host else f"{host}:{connection['clientPort']}"
    keys = ("id", "state", "route", "target", "protocol", "relay", "bytesReceived", "bytesSent", "openedAt")
    number, state, route, *rest = ("-" if connection[key] is None else connection[key] for key in keys)
    return (number, state, route, client, *rest)
