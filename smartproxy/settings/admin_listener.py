"""The admin listener of a configuration file, for a command that talks to the proxy running with it.

Only the key ``admin`` is validated. The commands must work while the rest of the file is invalid, as before a reload that
reports what is wrong with it; and their user may be one who cannot read the keys of the certificates, and whose environment
has none of the variables in the rest of the file.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pydantic import ConfigDict, ValidationError

from smartproxy.errors import ConfigurationError
from smartproxy.settings.checks.model_errors import problems_of
from smartproxy.settings.checks.problems import lines_of
from smartproxy.settings.checks.written_values import validated_table
from smartproxy.settings.compile.plans import admin_plan
from smartproxy.settings.compile.references import References
from smartproxy.settings.reading import files
from smartproxy.settings.reading.variables import Variables
from smartproxy.settings.tables.base import Table
from smartproxy.settings.tables.root import Admin  # noqa: TC001 - pydantic evaluates annotations

if TYPE_CHECKING:
    from pathlib import Path

    from smartproxy.model.plan import AdminPlan


class _AdminOnly(Table):
    """The root table, with every other key ignored."""

    model_config = ConfigDict(extra="ignore")

    admin: Admin = False


def admin_listener(path: Path, *, with_token: bool = True) -> AdminPlan | None:
    """The admin listener that the configuration in ``path`` asks for; ``None`` where it asks for none.

    :param with_token: whether its token is wanted; else a variable in it need not be set.
    :raises ConfigurationError: where the file cannot be read, or its key ``admin`` is invalid.
    """
    text, format_ = files.read_file(path)
    value, source = files.parse_text(text, format_, str(path))
    if isinstance(value, dict):
        value = {"admin": value["admin"]} if "admin" in value else {}
        if not with_token and isinstance(value.get("admin"), dict):
            value["admin"].pop("token", None)
        source.variables = Variables(os.environ)
        source.variables.replace(value, source, lambda _: False)
    try:
        written = validated_table(_AdminOnly, value, source).admin
    except ValidationError as error:
        raise ConfigurationError(lines_of(problems_of(error, _AdminOnly), source)) from None
    return admin_plan(written, References(source.directory))
