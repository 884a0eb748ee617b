"""``smartproxy forward``: one route without a configuration file, in the foreground."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from smartproxy.cli.configuration import INVALID
from smartproxy.cli.forward_arguments import (
    Forward,
    HostPort,
    as_arguments,
    configuration,
    parse_listen,
    parse_target,
)
from smartproxy.errors import ConfigurationError
from smartproxy.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

_SELF_SIGNED = "selfSigned"
_TLS = f"{_SELF_SIGNED}, or two files: CERT KEY"
#: Names the configuration in messages, which end up without it.
_SOURCE = "forward"


def _place(parse: Callable[[str], HostPort]) -> Callable[[click.Context, click.Parameter, str], HostPort]:
    """A click callback that parses a place."""

    def parsed(ctx: click.Context, param: click.Parameter, value: str) -> HostPort:
        try:
            return parse(value)
        except ValueError as wrong:
            raise click.BadParameter(str(wrong), ctx, param) from wrong

    return parsed


class ForwardCommand(click.Command):
    """A command whose option ``--tls`` takes ``selfSigned`` or two files: click's options take a fixed number of values."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse ``args``; after ``selfSigned`` the second value is empty."""
        given: list[str] = []
        for word in args:
            if word == f"--tls={_SELF_SIGNED}":
                given += ["--tls", _SELF_SIGNED, ""]
            elif given[-1:] == ["--tls"] and word == _SELF_SIGNED:
                given += [word, ""]
            else:
                given.append(word)
        try:
            return super().parse_args(ctx, given)
        except click.BadOptionUsage as wrong:
            if wrong.option_name == "--tls":
                raise click.BadOptionUsage("--tls", f"Option '--tls' takes {_TLS}.", ctx) from wrong
            raise


@click.command(cls=ForwardCommand, short_help="Forward a port, without a configuration file.")
@click.argument("listen", metavar="[ADDRESS:]PORT", callback=_place(parse_listen))
@click.argument("target", metavar="HOST:PORT", callback=_place(parse_target))
@click.option(
    "--tls",
    nargs=2,
    metavar=f"[{_SELF_SIGNED} | CERT KEY]",
    help="Terminate TLS: with a certificate that is made at start, for testing, or with these files (PEM).",
)
@click.option(
    "--send-proxy", type=click.Choice(["1", "2"]), help="Send a PROXY header of this version to the target."
)
@click.option("--admin", is_flag=True, help="Serve metrics and the admin API on 127.0.0.1:8404.")
@click.option("--print", "printing", is_flag=True, help="Print the configuration file that does the same.")
def forward(
    listen: HostPort,
    target: HostPort,
    tls: tuple[str, str] | None,
    send_proxy: str | None,
    *,
    admin: bool,
    printing: bool,
) -> None:
    """Forward connections from [ADDRESS:]PORT to HOST:PORT, until Ctrl-C.

    \b
    smartproxy forward 8080 127.0.0.1:9000
    smartproxy forward [::1]:8443 backend.internal:80 --tls selfSigned
    smartproxy forward 8080 127.0.0.1:9000 --print > smartproxy.yaml

    Without ADDRESS it listens on every address, IPv4 and IPv6. IPv6 addresses are written in brackets. Each connection is
    printed when it has ended: client, target, bytes from the client and to it, seconds, and the reason of the end.
    Problems are printed on standard error.

    The exit code is 0 after Ctrl-C or SIGTERM, 2 for wrong usage and 3 if the port cannot be bound.
    """  # noqa: D301 - \b tells click not to rewrap the next paragraph
    wanted = Forward(listen, target, _absolute(tls), int(send_proxy or 0), admin)
    text = configuration(wanted)
    settings = _valid(text)
    if printing:
        click.echo("# Run it with: twistd -n smartproxy --config smartproxy.yaml")
        click.echo(text, nl=False)
        return
    for warning in settings.warnings():
        click.echo(f"warning: {_as_arguments(warning)}", err=True)
    from smartproxy.cli.foreground import run  # noqa: PLC0415 - Twisted is not needed for --print

    raise click.exceptions.Exit(run(settings, str(target)))


def _absolute(tls: tuple[str, str] | None) -> tuple[str, str] | None:
    if tls is None or tls == (_SELF_SIGNED, ""):
        return tls
    cert, key = tls
    return str(Path(cert).absolute()), str(Path(key).absolute())


def _valid(text: str) -> Settings:
    try:
        return Settings.parse(text, "yaml", _SOURCE)
    except ConfigurationError as invalid:
        for problem in invalid.problems:
            click.echo(f"smartproxy forward: {_as_arguments(problem)}", err=True)
        raise click.exceptions.Exit(INVALID) from None


def _as_arguments(problem: str) -> str:
    """A line of :class:`Settings` without the place in a file that the user has not written."""
    return as_arguments(re.sub(rf"^{_SOURCE}:\d+: ", "", problem))
