"""The admin listener of a configuration file, for a command that talks to the proxy running with it.

Only the key ``admin`` is validated. The commands must work while the rest of the file is invalid, as before a reload that
reports what is wrong with it; and their user may be one who cannot read the keys of the certificates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ConfigDict, ValidationError

from smartproxy.errors import ConfigurationError
from smartproxy.settings.checks.model_errors import problems_of
from smartproxy.settings.checks.problems import lines_of
from smartproxy.settings.compile.plans import admin_plan
from smartproxy.settings.compile.references import References
from smartproxy.settings.reading import files
from smartproxy.settings.tables.base import Table
from smartproxy.settings.tables.root import Admin  # noqa: TC001 - pydantic evaluates annotations

if TYPE_CHECKING:
    from pathlib import Path

    from smartproxy.model.plan import AdminPlan


class _AdminOnly(Table):
    """The root table, with every other key ignored."""

    model_config = ConfigDict(extra="ignore")

    admin: Admin = False


def admin_listener(path: Path) -> AdminPlan | None:
    """The admin listener that the configuration in ``path`` asks for; ``None`` where it asks for none.

    :raises ConfigurationError: where the file cannot be read, or its key ``admin`` is invalid.
    """
    text, format_ = files.read_file(path)
    value, source = files.parse_text(text, format_, str(path))
    try:
        written = _AdminOnly.model_validate(value, by_alias=True, by_name=False).admin
    except ValidationError as error:
        raise ConfigurationError(lines_of(problems_of(error, _AdminOnly), source)) from None
    return admin_plan(written, References(source.directory))
