"""Domain patterns: ``example.com``, ``*.example.com`` and ``*``, matched against SNI or Host.

- An exact pattern matches that name only.
- ``*.example.com`` matches every name with one or more labels before ``.example.com``, but not ``example.com``.
  (The wildcard of a certificate, RFC 6125, 6.4.3, stands for exactly one label.)
- ``*`` matches any name; a connection without SNI or Host has none and does not match.
- An IP address matches that address only: in Host, or the local address of a TLS client without SNI.

Names are compared in lower case and without a final dot, as A-labels (RFC 5890). A pattern may be written in
Unicode and is encoded with UTS 46, as browsers do. Received names are compared unchanged:
:attr:`smartproxy.model.facts.Detected.domain` is in lower case and without a final dot already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import idna

from smartproxy.wire.host import LABEL_LIMIT, NAME_LIMIT, is_address, is_label, normalise_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def normalise_pattern(pattern: str) -> str:
    """A domain pattern of a configuration, in lower case, without a final dot, as A-labels; or an IP address, normalised.

    :raises ValueError: where it is not a domain pattern; the message quotes it.
    """
    if pattern == "*":
        return pattern
    if is_address(pattern):
        return normalise_address(pattern)
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
    """One label, normalised."""
    if "*" in label:
        raise ValueError("* must be the whole pattern or its first label, as in *.example.com")
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
        raise ValueError("a label may contain letters, digits, - and _ only")
    return label.lower()


def parents(name: str) -> Iterator[str]:
    """Every parent domain of ``name``, the nearest first: those whose wildcard matches it."""
    at = name.find(".")
    while at > 0:
        yield name[at + 1 :]
        at = name.find(".", at + 1)


class DomainSet:
    """The domain patterns of a route.

    :param patterns: normalised, see :func:`normalise_pattern`.
    """

    __slots__ = ("_any", "_below", "_exact")

    def __init__(self, patterns: Iterable[str]) -> None:
        patterns = frozenset(patterns)
        self._any = "*" in patterns
        self._below = frozenset(pattern[2:] for pattern in patterns if pattern.startswith("*."))
        self._exact = patterns

    def has(self, pattern: str) -> bool:
        """Whether ``pattern`` is one of them."""
        return pattern in self._exact

    def best(self, name: str | None) -> str | None:
        """The most specific pattern that matches ``name``; ``None`` where none does."""
        if not name:
            return None
        if name in self._exact:
            return name
        for parent in parents(name):
            if parent in self._below:
                return f"*.{parent}"
        return "*" if self._any else None


def specificity(pattern: str | None) -> tuple[int, int]:
    """A sort key, greater for the more specific pattern: exact, then the longer wildcard, ``*``, no name (``""``), no pattern."""
    if not pattern:
        return (0, int(pattern is not None))
    if pattern == "*":
        return (1, 0)
    return (2, len(pattern)) if pattern.startswith("*.") else (3, 0)
