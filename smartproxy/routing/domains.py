"""Domain patterns: ``example.com``, ``*.example.com`` and ``*``, against the name of an SNI or a Host.

- An exact pattern is that name and no other.
- ``*.example.com`` is every name with one label or more before ``.example.com``; never ``example.com`` itself.
  (A certificate's wildcard, RFC 6125, 6.4.3, stands for exactly one; a route's is for any depth.)
- ``*`` is any name, but there has to be one: a connection without SNI or Host does not match.

Names are compared in lower case and without a final dot, as A-labels (RFC 5890). A pattern may be written in
Unicode and is encoded with UTS 46, as browsers do. What arrives on the wire is compared as it is:
:attr:`smartproxy.model.facts.Detected.domain` is lower case without a final dot already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import idna

from smartproxy.wire.host import LABEL_LIMIT, NAME_LIMIT, is_label

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def normalise_pattern(pattern: str) -> str:
    """The one spelling of a domain pattern that somebody wrote by hand.

    :raises ValueError: where it is none; the message quotes it.
    """
    if pattern == "*":
        return pattern
    wildcard, name = ("*.", pattern[2:]) if pattern.startswith("*.") else ("", pattern)
    try:
        labels = [_label(label) for label in name.removesuffix(".").split(".")]
    except ValueError as problem:
        raise ValueError(f"{pattern!r} is not a domain: {problem}") from None
    name = ".".join(labels)
    if len(name) > NAME_LIMIT:
        raise ValueError(f"{pattern!r} is not a domain: it is longer than {NAME_LIMIT} characters")
    return wildcard + name


def _label(label: str) -> str:
    if "*" in label:
        raise ValueError("a * stands alone or as the first label, as in *.example.com")
    if not label:
        raise ValueError("it has an empty label")
    if not label.isascii():
        try:
            label = idna.encode(label, uts46=True).decode("ascii")
        except idna.IDNAError as problem:
            raise ValueError(str(problem)) from None
    if len(label) > LABEL_LIMIT:
        raise ValueError(f"a label is longer than {LABEL_LIMIT} characters")
    if not is_label(label):
        raise ValueError("a label is letters, digits, - and _")
    return label.lower()


def parents(name: str) -> Iterator[str]:
    """Every domain that ``name`` lies below, the nearest first: what a wildcard may have stood for."""
    at = name.find(".")
    while at > 0:
        yield name[at + 1 :]
        at = name.find(".", at + 1)


class DomainSet:
    """Which of a route's domain patterns a name meets.

    :param patterns: normalised ones.
    """

    __slots__ = ("_any", "_below", "_exact")

    def __init__(self, patterns: Iterable[str]) -> None:
        patterns = frozenset(patterns)
        self._any = "*" in patterns
        self._below = frozenset(pattern[2:] for pattern in patterns if pattern.startswith("*."))
        self._exact = patterns

    def best(self, name: str | None) -> str | None:
        """The most specific pattern that ``name`` meets, if any."""
        if not name:
            return None
        if name in self._exact:
            return name
        for parent in parents(name):
            if parent in self._below:
                return f"*.{parent}"
        return "*" if self._any else None


def specificity(pattern: str | None) -> tuple[int, int]:
    """How narrow a pattern is, to be compared: exact, then the longer wildcard, ``*``, no pattern at all."""
    if pattern is None:
        return (0, 0)
    if pattern == "*":
        return (1, 0)
    return (2, len(pattern)) if pattern.startswith("*.") else (3, 0)
