"""Environment variables in the values of a configuration: ``${NAME}``, ``${NAME:-default}``, and ``$$`` for a dollar sign.

They are replaced in strings, after the text was parsed: the value of a variable can never become another key or a list, and
its quotes and colons have no meaning. A dollar sign before anything else stays as it is. The default is used where the
variable is not set or empty, as in a shell. Keys are not touched.

The result is a string. Where a key wants a number or a boolean, and the string reads like one, validation replaces it by that
(:meth:`Variables.give_numbers`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeAlias

from smartproxy.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from smartproxy.settings.reading.locations import KeyPath, Source

#: A mapping or a list of the configuration.
_Container: TypeAlias = "dict[str, object] | list[object]"

_DOLLAR = re.compile(r"\$\$|\$\{([^}]*)(\}?)")
_NAME_AND_DEFAULT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_RULE: Final = 'must be ${NAME} or ${NAME:-default}; write "$$" for a dollar sign'
#: Keys whose values no message may repeat. The last two name a file and a variable, and are mistaken for the secret itself.
SECRETS: Final = frozenset({"token", "key", "cert", "hmacKey", "passphraseFile", "passphraseEnv"})
#: Shorter values are hidden only in messages about their own key: they may occur in any text.
_RECOGNISABLE: Final = 4


class Variables:
    """The variables that were replaced in one file.

    :param environment: the variables of the process.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._problems: list[tuple[KeyPath, str]] = []
        self._replaced: set[tuple[int, str | int]] = set()
        #: Values of secret keys, and how they were written.
        self._secrets: dict[str, str] = {}

    def replace(self, value: object, source: Source, ignored: Callable[[KeyPath], bool]) -> object:
        """``value``, with the variables in its strings replaced; its mappings and lists are changed in place.

        :param source: locates the problems.
        :param ignored: whether what is at a path is ignored by the configuration, and left alone.
        :raises ConfigurationError: with every variable that is not set, or is written in another way.
        """
        # Through an alias, a mapping may be in several places. It is changed once.
        self._walk(value, (), set(), ignored)
        if self._problems:
            raise ConfigurationError(
                [f"{source.prefix(path)}{_dotted(path)}: {why}" for path, why in self._problems]
            )
        return value

    def hidden(self, message: str, path: KeyPath) -> str:
        """``message`` about ``path`` without the values of secret keys."""
        for value, written in self._secrets.items():
            if len(value) >= _RECOGNISABLE or not SECRETS.isdisjoint(path[-1:]):
                message = message.replace(value, written)
        return message

    def give_numbers(self, value: object, paths: Iterable[KeyPath], read: Callable[[str], object]) -> bool:
        """Replace the strings at ``paths`` that came from a variable and read like a number or a boolean.

        :param read: reads a string as a plain scalar.
        :return: whether any was replaced.
        """
        changed = False
        for path in paths:
            container = _container(value, path)
            if container is None or (id(container), path[-1]) not in self._replaced:
                continue
            meant = read(str(container[path[-1]]))  # type: ignore[index]  # the path was just followed
            if isinstance(meant, int | float):
                container[path[-1]] = meant  # type: ignore[index]
                self._replaced.discard((id(container), path[-1]))
                changed = True
        return changed

    def _walk(self, value: object, path: KeyPath, seen: set[int], ignored: Callable[[KeyPath], bool]) -> None:
        if not isinstance(value, dict | list) or id(value) in seen:
            return
        seen.add(id(value))
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in list(items):
            here = (*path, key)
            if ignored(here):
                continue
            if isinstance(inner, str) and "$" in inner:
                value[key] = made = self._replaced_in(inner, here)
                if made != inner:
                    self._replaced.add((id(value), key))
            else:
                self._walk(inner, here, seen, ignored)

    def _replaced_in(self, written: str, path: KeyPath) -> str:
        made = _DOLLAR.sub(lambda found: self._value(found, path), written)
        if path[-1] in SECRETS and made and made != written:
            self._secrets[made] = written
        return made

    def _value(self, found: re.Match[str], path: KeyPath) -> str:
        if found[0] == "$$":
            return "$"
        parts = _NAME_AND_DEFAULT.fullmatch(found[1])
        if parts is None or not found[2] or "${" in (parts[2] or ""):
            self._problems.append((path, _RULE))
            return ""
        name, default = parts.groups()
        value = self._environment.get(name)
        if value or (value is not None and default is None):
            return value
        if default is None:
            self._problems.append(
                (path, f"${{{name}}} is not set in the environment; ${{{name}:-VALUE}} has a default")
            )
        return default or ""


def _container(value: object, path: KeyPath) -> _Container | None:
    """The mapping or list that has ``path``; ``None`` where there is none."""
    for step in path[:-1]:
        if _has(value, step):
            value = value[step]  # type: ignore[index]  # it has it
        elif step != 0:  # the only item of a list may be written without brackets
            return None
    return value if path and _has(value, path[-1]) else None  # type: ignore[return-value]  # it has an item


def _has(value: object, step: str | int) -> bool:
    if isinstance(value, list):
        return isinstance(step, int) and step < len(value)
    return isinstance(value, dict) and step in value


def _dotted(path: KeyPath) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")
