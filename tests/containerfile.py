"""Reads a container file: the instructions of its stages, as far as ours uses the language."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Stage:
    """One stage.

    :ivar base: the image that it begins with, build arguments replaced by their defaults.
    :ivar instructions: keyword and the rest, in order; ``FROM`` is not among them.
    """

    base: str
    name: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, keyword: str) -> list[str]:
        """What is behind each instruction with this keyword."""
        return [rest for each, rest in self.instructions if each == keyword]

    def argv(self, keyword: str) -> list[str]:
        """The words of the only instruction with this keyword, in exec form: a JSON list."""
        (rest,) = self.all(keyword)
        words = json.loads(rest[rest.index("[") :])
        assert isinstance(words, list), rest
        return words


def stages(path: Path) -> list[Stage]:
    """The stages of the file."""
    arguments: dict[str, str] = {}
    found: list[Stage] = []
    for keyword, rest in _instructions(path.read_text(encoding="utf-8")):
        if keyword == "ARG":
            name, _, value = rest.partition("=")
            arguments[name] = value
        elif keyword == "FROM":
            base, _, name = re.sub(r"\$\{(\w+)\}", lambda used: arguments[used[1]], rest).partition(" AS ")
            found.append(Stage(base, name))
        else:
            found[-1].instructions.append((keyword, rest))
    return found


def _instructions(text: str) -> list[tuple[str, str]]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(keyword, rest) for keyword, _, rest in (line.partition(" ") for line in joined.splitlines())]
