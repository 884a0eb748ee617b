"""A configuration file on the command line: read, or refused as all commands refuse it."""

from __future__ import annotations

import click

from smartproxy.errors import ConfigurationError
from smartproxy.settings import Settings

#: The exit code of wrong usage, and of a configuration that is not valid.
INVALID = 2


def read(file: str) -> Settings:
    """The settings in ``file``. Where they are not valid, one line a problem goes to standard error.

    :raises click.exceptions.Exit: with code 2, where they are not valid.
    """
    try:
        return Settings.load(file)
    except ConfigurationError as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        raise click.exceptions.Exit(INVALID) from None
