"""A configuration with the files that it includes: ``include: [FILE]``, each a list of routes.

A name is relative to the file that names it, and may be a pattern like ``conf.d/*.yaml``, whose files are read in the order of
their names. An included file is a list of routes, or a mapping with ``routes``, ``include`` and ``x-...`` keys; TOML has no
other way. Its routes follow those of the file that includes it. All other paths, as of certificates, are relative to the main
file, wherever they are written.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from smartproxy.errors import ConfigurationError
from smartproxy.settings.reading import files
from smartproxy.settings.reading.locations import is_extension, one_line
from smartproxy.settings.reading.variables import Variables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.settings.reading.locations import KeyPath, Source

_KEYS = ("routes", "include")


class _Part(NamedTuple):
    """A file and its routes.

    :ivar chain: the files that lead to it, itself included.
    """

    source: Source
    routes: list[object]
    chain: tuple[Path, ...]


def read_all(text: str, format_: str, file: str) -> tuple[object, Source]:
    """The value of a configuration with all that it includes, and where its lines are found.

    :raises ConfigurationError: where a file cannot be read, includes itself, or is not valid in its format.
    """
    value, source = read_document(text, format_, file)
    if not isinstance(value, dict) or "include" not in value:
        return value, source
    names = value.pop("include")
    own = value.get("routes", [])
    if not isinstance(own, list):  # one of the problems that validation reports
        return value, source
    routes = list(own)
    seen = {Path(file).absolute()}
    for part in _included(names, source, (Path(file).absolute(),), seen):
        source.add(len(routes), part.source)
        routes.extend(part.routes)
    value["routes"] = routes
    return value, source


def read_document(text: str, format_: str, file: str) -> tuple[object, Source]:
    """The value of one file, with its variables replaced, and where its lines are found.

    :raises ConfigurationError: where it is empty, not valid in its format, or names a variable that is not set.
    """
    value, source = files.parse_text(text, format_, file)
    if "$" in text:
        source.variables = Variables(os.environ)
        value = source.variables.replace(value, source, _is_ignored)
    return value, source


def _is_ignored(path: KeyPath) -> bool:
    """Whether what is at ``path`` is an extension: at the top level, or in a route."""
    return is_extension(path[-1]) and all(not isinstance(step, str) or step == "routes" for step in path[:-1])


def _included(names: object, source: Source, chain: tuple[Path, ...], seen: set[Path]) -> Iterator[_Part]:
    """The files that a file includes, each followed by those that it includes itself."""
    listed = names if isinstance(names, list) else [names]
    for index, name in enumerate(listed):
        path: KeyPath = ("include", index) if isinstance(names, list) else ("include",)
        if not isinstance(name, str) or not name:
            raise _refused(source, path, "must be a file, or a list of files")
        if any("**" in part and part != "**" for part in Path(name).parts):
            raise _refused(source, path, f"{name}: ** must be a whole folder, as in conf.d/**/*.yaml")
        for file in _files(source.directory, name):
            if (absolute := file.absolute()) in chain:
                way = " -> ".join(str(one.name) for one in (*chain[chain.index(absolute) :], absolute))
                raise _refused(source, path, f"{file}: includes itself: {way}")
            if absolute in seen:
                raise _refused(source, path, f"{file}: is included twice")
            seen.add(absolute)
            yield from _parts(file, source, path, (*chain, absolute), seen)


def _parts(
    file: Path, by: Source, path: KeyPath, chain: tuple[Path, ...], seen: set[Path]
) -> Iterator[_Part]:
    try:
        text, format_ = files.read_file(file)
    except ConfigurationError as problem:
        raise _refused(by, path, problem.problems[0]) from None
    value, source = read_document(text, format_, str(file))
    if isinstance(value, list):
        source.list_key = "routes"
        yield _Part(source, value, chain)
        return
    if not isinstance(value, dict):
        raise _refused(source, (), "must be a list of routes")
    for key in value:
        if key not in _KEYS and not is_extension(key):
            raise _refused(source, (key,), "has no place in an included file, which has routes only")
    routes = value.get("routes", [])
    if not isinstance(routes, list):
        raise _refused(source, ("routes",), 'must be a list; begin each route with "- name: NAME"')
    yield _Part(source, routes, chain)
    if "include" in value:
        yield from _included(value["include"], source, chain, seen)


def _files(directory: Path, name: str) -> list[Path]:
    """The files of a name, or of a pattern: of that maybe none, as in a folder that is still empty."""
    if any(sign in name for sign in "*?["):
        pattern = Path(name)
        root = Path(pattern.anchor) if pattern.is_absolute() else directory
        relative = str(pattern.relative_to(pattern.anchor)) if pattern.is_absolute() else name
        return sorted(file for file in root.glob(relative) if not file.name.startswith("."))
    return [directory / name]


def _refused(source: Source, path: KeyPath, why: str) -> ConfigurationError:
    key = "".join(f"[{step}]" if isinstance(step, int) else str(step) for step in path)
    return ConfigurationError(
        [one_line(f"{source.prefix(path)}{key}: {why}" if key else f"{source.prefix(path)}{why}")]
    )
