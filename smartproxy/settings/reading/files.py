"""From a configuration file, or a string, to plain values and the lines where they are."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from smartproxy.errors import ConfigurationError, ConfigurationSyntaxError
from smartproxy.files.bounded import read_bounded
from smartproxy.settings.reading import json_reader, toml_reader, yaml_reader
from smartproxy.settings.reading.locations import Document, Source, one_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_READERS: dict[str, Callable[[str], Document]] = {
    "yaml": yaml_reader.read,
    "json": json_reader.read,
    "toml": toml_reader.read,
}
#: Bytes of a file: a million routes have less.
_MAX_SIZE = 1 << 30
#: Names standard input in messages.
STANDARD_INPUT = "<stdin>"
_SUFFIXES = {".yaml": "yaml", ".yml": "yaml", ".json": "json", ".toml": "toml"}


def _refused(problem: str) -> ConfigurationError:
    return ConfigurationError([one_line(problem)])


def read_file(path: Path, format_: str | None = None) -> tuple[str, str]:
    """The text of a file, and its format.

    :param format_: the format, whatever the suffix is. Then the file may be a pipe, such as one of a shell (``<(…)``).
    :raises ConfigurationError: where the file cannot be read, is not UTF-8, or has another suffix.
    """
    found = format_ or _SUFFIXES.get(path.suffix.lower())
    if found is None:
        raise _refused(f"{path}: must end in {', '.join(_SUFFIXES)}")
    try:
        content = path.read_bytes() if format_ else read_bounded(str(path), _MAX_SIZE)
        if len(content) > _MAX_SIZE:
            raise _refused(f"{path}: is larger than {_MAX_SIZE >> 20} MiB")
        return content.decode("utf-8-sig"), found
    except OSError as problem:
        raise _refused(f"{path}: cannot be read: {problem.strerror or problem}") from None
    except UnicodeDecodeError as problem:
        line = problem.object.count(b"\n", 0, problem.start) + 1
        raise _refused(f"{path}:{line}: is not UTF-8") from None


def read_standard_input() -> str:
    """The text on standard input.

    :raises ConfigurationError: where it is not UTF-8.
    """
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _refused(f"{STANDARD_INPUT}: is not UTF-8") from None


def parse_text(text: str, format_: str, file: str) -> tuple[object, Source]:
    """The value of a text, and where its lines are found.

    :param file: names the text in messages.
    :raises ConfigurationError: where the text is empty, or not valid in its format.
    """
    if format_ not in _READERS:
        raise _refused(f"{file}: the format must be one of {', '.join(_READERS)} (got {format_})")
    try:
        document = _READERS[format_](text)
    except ConfigurationSyntaxError as error:
        raise _refused(f"{file}:{error.line}: {error.message}") from None
    if document.value is None:
        raise _refused(f"{file}: is empty")
    return document.value, Source(file, document.marks)
