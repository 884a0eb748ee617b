"""Load the configuration file that a command is given."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from smartproxy.errors import ConfigurationError
from smartproxy.settings import Settings
from smartproxy.settings.admin_listener import admin_listener

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.model.plan import AdminPlan, ProxyPlan

#: The exit code for wrong usage and for an invalid configuration.
INVALID = 2


#: The option of commands that read a configuration.
format_option = click.option(
    "--format",
    "format_",
    type=click.Choice(["yaml", "json", "toml"]),
    help="Format of FILE.  [default: by its suffix; YAML on standard input]",
)


def read(file: str | Path, format_: str | None = None) -> Settings:
    """Return the settings in ``file``; print one line per problem on standard error if it is invalid.

    :param file: ``-`` is standard input.
    :param format_: as of :meth:`~smartproxy.settings.Settings.load`.
    :raises click.exceptions.Exit: with code 2 if it is invalid.
    """
    with _problems_printed():
        return Settings.load(file, format_)


def compiled(settings: Settings) -> ProxyPlan:
    """Return the compiled settings; otherwise as :func:`read`."""
    with _problems_printed():
        return settings.compile()


def admin_of(file: str | Path, *, with_token: bool = True) -> AdminPlan | None:
    """Return the admin listener in ``file``, of which nothing else is validated; otherwise as :func:`read`."""
    with _problems_printed():
        return admin_listener(Path(file), with_token=with_token)


@contextmanager
def _problems_printed() -> Iterator[None]:
    try:
        yield
    except ConfigurationError as invalid:
        for problem in invalid.problems:
            click.echo(problem, err=True)
        raise click.exceptions.Exit(INVALID) from None
