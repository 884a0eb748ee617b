"""Files of targets: reading them, and everything that makes one unusable.

The targets in a file are checked as those of the group that has it, beside the group's own ones. The same is done when the
file has changed while the proxy runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

from pydantic import Field, ValidationError

from smartproxy.errors import ConfigurationError, InvalidTargetsFile
from smartproxy.files.states import denied, state_of
from smartproxy.settings.checks.groups import names_by_address, target_list
from smartproxy.settings.checks.model_errors import problems_of
from smartproxy.settings.checks.problems import Problem, lines_of
from smartproxy.settings.checks.target_keys import target_problems
from smartproxy.settings.checks.tls import target_keys
from smartproxy.settings.checks.tls_files import target_files
from smartproxy.settings.checks.written_values import empty_keys, validated_table
from smartproxy.settings.compile.targets_files import ListedTargets
from smartproxy.settings.reading import files, includes
from smartproxy.settings.reading.locations import is_extension
from smartproxy.settings.tables.base import Table
from smartproxy.settings.tables.lists import OneOrList
from smartproxy.settings.tables.route import Target, TargetGroup

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.settings.compile.references import References
    from smartproxy.settings.reading.locations import KeyPath, Source
    from smartproxy.settings.tables.balancing import Balancing
    from smartproxy.settings.tables.root import Configuration
    from smartproxy.settings.tables.route import Action

#: A thousand targets of a group are used. A file of this size has more of them, and is read in less than a second.
_MAX_SIZE: Final = 1 << 20
_SUFFIXES: Final = (".yaml", ".yml", ".json")
#: Lines that are reported of one file.
_REPORTED: Final = 20


class _TargetsTable(Table):
    """What a file is read as."""

    targets: Annotated[list[Target], OneOrList()] = Field(default_factory=list)
    """The whole file, or its only key."""


class Holder(NamedTuple):
    """A group, or a route with targets of its own.

    :ivar group: the name of the group.
    :ivar keys: what the file stands beside.
    """

    group: str
    keys: TargetGroup | Action


def problems(settings: Configuration, references: References) -> Iterator[Problem]:
    """What makes files of targets unusable. Those of disabled routes are not looked at."""
    for path, holder in _holders(settings):
        try:
            targets_of(holder.group, holder.keys, settings, references)
        except InvalidTargetsFile as invalid:
            for problem in invalid.problems:
                yield Problem(path, problem)


def _holders(settings: Configuration) -> Iterator[tuple[KeyPath, Holder]]:
    for name, group in settings.target_groups.items():
        if group.targets_file is not None:
            yield ("targetGroups", name, "targetsFile"), Holder(name, group)
    for index, route in enumerate(settings.routes):
        action = route.action
        if route.enabled and action.targets_file is not None and action.group is None:
            yield ("routes", index, "action", "targetsFile"), Holder(route.name, action)


def targets_of(group: str, keys: Balancing, settings: Configuration, references: References) -> ListedTargets:
    """The targets in the file of a group.

    :param keys: the group, or the action of the route whose own group it is.
    :raises InvalidTargetsFile: where the file cannot be used.
    """
    assert isinstance(keys, TargetGroup) or hasattr(keys, "targets")  # noqa: S101 - both tables have targets
    path = references.path_of(keys.targets_file or "")
    holder = Holder(group, keys)  # type: ignore[arg-type]  # just seen
    return references.targets_files.of(path, group, lambda: _read(path, holder, settings, references))


def _read(path: str, holder: Holder, settings: Configuration, references: References) -> ListedTargets:
    state = state_of(path)
    value, source = _parsed(path)
    targets = _validated(value, source)
    found = [*_problems(targets, holder, settings, references)]
    if not targets and not holder.keys.targets:
        found.append(Problem((), "has no target"))
    if found:
        raise _invalid(found, source)
    own = [getattr(target, "weight", 1) for target in holder.keys.targets]
    if not any(own) and not any(target.weight for target in targets):
        raise InvalidTargetsFile([f"{path}: has no target with a weight above 0"])
    return ListedTargets(path, state, tuple(targets))


def _parsed(path: str) -> tuple[dict[str, object], Source]:
    """The file as a mapping with ``targets``, and its lines."""
    suffix = Path(path).suffix.lower()
    if suffix not in _SUFFIXES:
        raise InvalidTargetsFile([f"{path}: must end in {', '.join(_SUFFIXES)}"])
    state = state_of(path)
    if state is not None and state[2] > _MAX_SIZE:
        raise InvalidTargetsFile([f"{path}: is larger than {_MAX_SIZE >> 20} MiB"])
    try:
        value, source = includes.read_document(*files.read_file(Path(path)), path)
    except ConfigurationError as problem:
        raise InvalidTargetsFile(problem.problems, is_denied=bool(denied([path]))) from None
    if isinstance(value, list):
        source.list_key = "targets"
        return {"targets": value}, source
    if not isinstance(value, dict):
        raise _invalid([Problem((), "must be a list of targets")], source)
    kept = {key: inner for key, inner in value.items() if not is_extension(key)}
    if "targets" not in kept and kept:
        message = 'has no place in a file of targets, which is a list of them; begin each with "- host: NAME"'
        raise _invalid([Problem((next(iter(kept)),), message)], source)
    return kept, source


def _validated(value: dict[str, object], source: Source) -> list[Target]:
    found = list(empty_keys(value, (), _TargetsTable))
    try:
        table = validated_table(_TargetsTable, value, source)
    except ValidationError as error:
        empty = {problem.path for problem in found}
        found += [one for one in problems_of(error, _TargetsTable) if one.path not in empty]
        raise _invalid(found, source) from None
    if found:
        raise _invalid(found, source)
    return table.targets


def _problems(
    targets: list[Target], holder: Holder, settings: Configuration, references: References
) -> Iterator[Problem]:
    keys = holder.keys
    listed = list(enumerate(targets))
    own = list(keys.written_targets())
    taken = {target.name for _, target in own if target.name is not None} | names_by_address(own)
    yield from target_list(listed, (), keys, settings.defaults, taken=taken)
    encrypting = _reencrypting(holder, settings)
    for index, target in listed:
        path: KeyPath = ("targets", index)
        yield from target_problems(target, path, references)
        yield from target_keys(target, path)
        yield from target_files(target, references.tls, path)
        if encrypting and target.tls is False:
            yield Problem((*path, "tls"), f'is required: route "{encrypting}" has "terminate-and-reencrypt"')


def _reencrypting(holder: Holder, settings: Configuration) -> str:
    """The name of a route that shares the group and encrypts towards its targets; ``""`` where there is none."""
    for route in settings.routes:
        if route.action.group == holder.group and route.action.tls.mode == "terminate-and-reencrypt":
            return route.name
    return ""


def _invalid(found: list[Problem], source: Source) -> InvalidTargetsFile:
    lines = lines_of(found, source)
    more = [f"{source.file}: {len(lines) - _REPORTED} more problems"] if len(lines) > _REPORTED else []
    return InvalidTargetsFile([*lines[:_REPORTED], *more])
