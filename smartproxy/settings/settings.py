"""The settings of a proxy: the tables of a configuration with loading, checking and compiling.

::

    settings = Settings.load("smartproxy.yaml")     # ConfigurationError lists every problem with its line
    plan = settings.compile()                       # what the control path and the byte path use

Made in Python, with the same names in snake_case, a malformed table raises :exc:`ConfigurationError` at once. Problems that need the whole configuration (a name used twice, an unreachable route) are found by :meth:`Settings.check`
and :meth:`Settings.compile`.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import PrivateAttr

from smartproxy.errors import ConfigurationError
from smartproxy.files.states import denied
from smartproxy.flow.pace import Pace
from smartproxy.settings import schema
from smartproxy.settings.checks import conflicts, likely_mistakes, validation
from smartproxy.settings.checks.chosen_target import valid_target
from smartproxy.settings.checks.made_in_python import (
    invalid_table,
    no_settings,
    positional_arguments,
    route_list,
)
from smartproxy.settings.checks.problems import Problem, line_of
from smartproxy.settings.checks.targets_files import targets_of
from smartproxy.settings.compile import plans
from smartproxy.settings.compile.groups import Validation
from smartproxy.settings.compile.references import NOTHING_READ, References
from smartproxy.settings.reading import files, includes
from smartproxy.settings.reading.locations import Source
from smartproxy.settings.tables.base import Explanations
from smartproxy.settings.tables.root import Configuration

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from smartproxy.model.plan import ProxyPlan
    from smartproxy.settings.compile.references import ReadContent
    from smartproxy.settings.reading.locations import KeyPath
    from smartproxy.settings.tables.route import Route


Explanations.invalid = staticmethod(invalid_table)
Explanations.positional = staticmethod(positional_arguments)


class Settings(Configuration):
    """The configuration of a proxy."""

    _source: Source | None = PrivateAttr(default=None)
    _file: Path | None = PrivateAttr(default=None)
    _format: str | None = PrivateAttr(default=None)
    _has_other_routes: bool = PrivateAttr(default=False)
    #: Every file that was read: the one above, and those that it includes.
    _files: list[str] = PrivateAttr(default_factory=list)
    _directory: Path = PrivateAttr(default=Path())
    #: What was read of the files that these settings name, when they were last compiled or validated.
    _content: ReadContent = PrivateAttr(default=NOTHING_READ)

    @classmethod
    def load(cls, path: str | Path, format: str | None = None) -> Self:  # noqa: A002 - the name that the caller uses
        """Read a configuration file. Its suffix gives the format: ``.yaml``, ``.yml``, ``.json`` or ``.toml``.

        :param path: ``-`` is standard input. That is read once, and cannot be reloaded.
        :param format: ``yaml``, ``json`` or ``toml``, whatever the suffix is; for standard input YAML unless given.
        :raises ConfigurationError: with every problem found.
        """
        if str(path) == "-":
            return cls._parse(files.read_standard_input(), format or "yaml", files.STANDARD_INPUT)
        return cls._load(Path(path), format)

    @classmethod
    def parse(cls, text: str, format: str, file: str = "<string>") -> Self:  # noqa: A002 - the name that the caller uses
        """Read a configuration from a string.

        :param format: ``yaml``, ``json`` or ``toml``.
        :param file: names the source in messages; relative paths in the text are relative to its directory.
        :raises ConfigurationError: with every problem found.
        :raises TypeError: where ``text`` is no string.
        """
        if not isinstance(text, str):
            raise TypeError(f"text must be a str (got {type(text).__name__})")
        return cls._parse(text, format, file)

    @classmethod
    def of(cls, given: object) -> Self:
        """The settings that ``given`` means: settings, the path of a file, or a mapping with the keys of a file.

        :raises ConfigurationError: with every problem found, also where it is something else.
        """
        if isinstance(given, cls):
            return given
        if isinstance(given, str | Path) and "\n" not in str(given):
            return cls.load(given)
        if isinstance(given, Mapping):
            with _gc_paused():
                return cls._validated(dict(given), Source("settings"), by_name=True)
        raise ConfigurationError([no_settings(given)])

    @classmethod
    def _load(cls, path: Path, format_: str | None, before: Settings | None = None) -> Self:
        text, found = files.read_file(path, format_)
        settings = cls._parse(text, found, str(path), before)
        settings._file = path  # noqa: SLF001 - our own class
        settings._format = found  # noqa: SLF001 - our own class
        return settings

    @classmethod
    def _parse(cls, text: str, format_: str, file: str, before: Settings | None = None) -> Self:
        with _gc_paused():
            value, source = includes.read_all(text, format_, file)
            return cls._validated(value, source, before)

    @classmethod
    def _validated(
        cls, value: object, source: Source, before: Settings | None = None, *, by_name: bool = False
    ) -> Self:
        references = References(source.directory) if before is None else before._references(source.directory)  # noqa: SLF001 - our own class
        settings = validation.validate(cls, value, source, references, by_name=by_name)
        settings._source = source  # noqa: SLF001 - our own class
        settings._directory = source.directory  # noqa: SLF001 - our own class
        settings._files = source.files  # noqa: SLF001 - our own class
        settings._content = references.content  # noqa: SLF001 - our own class
        return settings

    def again(self) -> Self:
        """Read the file of these settings, and those that it includes, again. Of the certificates only those are read that have changed.

        :raises ConfigurationError: as :meth:`load`, and where these settings were not loaded from a file.
        """
        if self._file is None:
            raise ConfigurationError(["the configuration was not loaded from a file and cannot be reloaded"])
        return type(self)._load(self._file, self._format, self)  # noqa: SLF001 - our own class

    def with_routes(self, routes: Iterable[Route | Mapping[str, object]], file: str = "routes") -> Self:
        """The same configuration with other routes, validated.

        :param routes: tables, or mappings with the keys of a configuration file.
        :param file: names their source in messages.
        :raises ConfigurationError: with every problem found.
        """
        references = self._references()
        changed = validation.with_routes(self, route_list(routes), Source(file), references)
        changed._file, changed._format = self._file, self._format  # noqa: SLF001 - our own class
        changed._has_other_routes = True  # noqa: SLF001 - our own class
        changed._files = self._files  # noqa: SLF001 - our own class
        changed._directory = self._directory  # noqa: SLF001 - our own class
        changed._content = references.content  # noqa: SLF001 - our own class
        return changed

    def bare(self) -> Self:
        """A copy without what was read of the files that it names, which another process can be sent."""
        copied = self.model_copy()
        copied._content = NOTHING_READ  # noqa: SLF001 - our own class
        return copied

    def without_routes(self) -> Self:
        """A copy without routes, for :meth:`use_content_of` only: each route takes about 14 KB."""
        return self.model_copy(update={"routes": []})

    def use_content_of(self, before: Settings) -> None:
        """Read of the files that these settings name only what has changed since ``before`` was compiled."""
        self._content = before._content

    def check(self) -> list[str]:
        """Everything that makes these settings invalid, one line per problem; with file and line where known."""
        return self._lines(conflicts.problems(self, self._references()))

    def warnings(self) -> list[str]:
        """Valid settings that look like mistakes, in the same form as :meth:`check`."""
        found = likely_mistakes.warnings(self, self._references())
        # In the order of the file.
        source = self._source
        return self._lines(found if source is None else sorted(found, key=lambda one: source.order(one.path)))

    def compile(self) -> ProxyPlan:
        """Compile: durations to seconds, sizes to bytes, lists of addresses to sets, references to handlers.

        :raises ConfigurationError: with every problem found.
        """
        with _gc_paused():
            references = self._references()
            problems = self._lines(conflicts.problems(self, references))
            if problems:
                raise ConfigurationError(problems)
            self._content = references.content
            return plans.proxy_plan(self, references, Validation(valid_target, targets_of))

    def denied(self) -> list[str]:
        """The files of these settings that this user may not read: the settings' own, and those of TLS.

        What was read of the latter is used for as long as no change can be seen.
        """
        content = self._content
        read = [] if self._file is None else list(self._files)
        read += () if content.addresses is None else content.addresses.files
        read += () if content.error_pages is None else content.error_pages.files
        read += () if content.targets_files is None else content.targets_files.paths
        certificates = () if content.certificates is None else sorted(content.certificates.files)
        return denied(Pace().over([*read, *certificates]))

    def problem(self, path: KeyPath, message: str) -> ConfigurationError:
        """The exception for a value that turns out to be unusable when it is put to use.

        :param path: of its key.
        """
        return ConfigurationError(self._lines([Problem(path, message)]))

    def summary(self) -> str:
        """``FILE: ok (2 routes, ports 80, 443, 8000-8010)``, for settings without problems."""
        is_input = self._source is not None and self._source.file == files.STANDARD_INPUT
        file = files.STANDARD_INPUT if is_input else self._file
        place = f"{file}: " if file is not None else ""
        return f"{place}ok ({plans.summary(self)})"

    @property
    def processes(self) -> int:
        """How many processes carry connections: with ``workers: auto`` one for each core that this process may use."""
        return plans.processes(self.workers)

    @property
    def file(self) -> Path | None:
        """The file that these settings were loaded from; ``None`` for others."""
        return self._file

    @property
    def has_other_routes(self) -> bool:
        """Whether the routes are others than those of the file."""
        return self._has_other_routes

    @property
    def format(self) -> str | None:
        """The format of that file."""
        return self._format

    @property
    def directory(self) -> Path:
        """The directory that relative paths are resolved against: the file's, or else the working directory."""
        return self._directory

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """The JSON Schema (2020-12) of a configuration file."""
        return schema.schema_of(cls)

    def _references(self, directory: Path | None = None) -> References:
        """What these settings refer to.

        :param directory: that of other settings, which are read in their place.
        """
        return References(directory or self._directory, self._content, same=directory is None)

    def _lines(self, problems: Iterable[Problem]) -> list[str]:
        return [line_of(problem, self._source) for problem in problems]


@contextmanager
def _gc_paused() -> Iterator[None]:
    """Without cyclic garbage collection, which would take 60 % of the time.

    Everything that is made while a big configuration is read stays alive, so there is nothing to collect.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
