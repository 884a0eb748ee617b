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


def read(file: str | Path) -> Settings:
    """Return the settings in ``file``; print one line per problem on standard error if it is invalid.

    :raises click.exceptions.Exit: with code 2 if it is invalid.
    """
    with _problems_printed():
        return Settings.load(file)


def compiled(file: str | Path) -> ProxyPlan:
    """Return the compiled configuration in ``file``; otherwise as :func:`read`."""
    with _problems_printed():
        return Settings.load(file).compile()


def admin_of(file: str | Path) -> AdminPlan | None:
    """Return the admin listener in ``file``, of which nothing else is validated; otherwise as :func:`read`."""
    with _problems_printed():
        return admin_listener(Path(file))


@contextmanager
def _problems_printed() -> Iterator[None]:
    try:
        yield
    except ConfigurationError as invalid:
        for problem in invalid.problems:
            click.echo(problem, err=True)
        raise click.exceptions.Exit(INVALID) from None
