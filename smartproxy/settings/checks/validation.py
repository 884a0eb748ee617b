"""Validates a whole configuration, and reports every problem at once.

The tables find what is wrong with single keys; :mod:`conflicts` finds what is wrong with the whole. The second kind is also
reported where the first kind occurs: :func:`_problems_of_the_rest` leaves the malformed routes and keys out and checks what remains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from smartproxy.errors import ConfigurationError
from smartproxy.settings.checks import conflicts
from smartproxy.settings.checks.acme_names import NEEDS_ACME
from smartproxy.settings.checks.model_errors import problems_of
from smartproxy.settings.checks.problems import Problem, lines_of
from smartproxy.settings.checks.written_values import EMPTY, EMPTY_AND_REQUIRED, empty_keys, validated_table
from smartproxy.settings.tables.root import Configuration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from smartproxy.settings.compile.references import References
    from smartproxy.settings.reading.locations import Source
    from smartproxy.settings.tables.route import Route

ConfigurationT = TypeVar("ConfigurationT", bound=Configuration)


def validate(
    model: type[ConfigurationT],
    value: object,
    source: Source,
    references: References,
    *,
    by_name: bool = False,
) -> ConfigurationT:
    """The table of ``value``, which was read from ``source``.

    :param references: what the table refers to.
    :param by_name: whether keys may have their names in Python, too.
    :raises ConfigurationError: with every problem found, in the order of the file.
    """
    found_before = list(empty_keys(value, (), model))
    try:
        table = validated_table(model, value, source, by_name=by_name)
    except ValidationError as error:
        problems = _merged(found_before, list(problems_of(error, model)))
        problems += _problems_of_the_rest(model, value, problems, references)
    else:
        found = conflicts.problems(table, references)
        problems = list(dict.fromkeys([*found_before, *found]))
    if problems:
        raise ConfigurationError(lines_of(problems, source))
    return table


def with_routes(
    table: ConfigurationT, routes: list[Route | Mapping[str, object]], source: Source, references: References
) -> ConfigurationT:
    """``table`` with other routes, validated.

    :param source: names the routes in messages.
    :param references: what the configuration refers to.
    :raises ConfigurationError: with every problem found.
    """
    keys = {name: getattr(table, name) for name in table.model_fields_set}
    try:
        changed = type(table).model_validate(keys | {"routes": routes})
    except ValidationError as error:
        problems = list(problems_of(error, type(table)))
    else:
        problems = list(conflicts.problems(changed, references))
    if problems:
        raise ConfigurationError(lines_of(problems, source))
    return changed


def _merged(before: list[Problem], found: list[Problem]) -> list[Problem]:
    """Both lists, with one problem per key."""
    empty = {problem.path for problem in before if problem.message in {EMPTY, EMPTY_AND_REQUIRED}}
    malformed = {problem.path for problem in found} - empty
    first = [problem for problem in before if problem.path not in malformed]
    return first + [problem for problem in found if problem.path not in empty]


def _problems_of_the_rest(
    model: type[Configuration], value: object, problems: list[Problem], references: References
) -> list[Problem]:
    """What is wrong with the whole of the well-formed keys and routes, at their places in the file."""
    if not isinstance(value, dict) or not isinstance(value.get("routes"), list):
        return []
    routes = value["routes"]
    names = [(index, route.get("name")) for index, route in enumerate(routes) if isinstance(route, dict)]
    bad_routes = {p.path[1] for p in problems if p.path[1:] and p.path[0] == "routes"}
    kept = [index for index in range(len(routes)) if index not in bad_routes]
    bad_keys = {p.path[0] for p in problems if p.path} - {"routes"}
    rest = {key: inner for key, inner in value.items() if key not in bad_keys}
    found = [
        *conflicts.names_used_twice(names),
        *_conflicts_of(model, rest | {"routes": [routes[i] for i in kept]}, kept, references),
    ]
    if "targetGroups" in bad_keys:
        found = [problem for problem in found if problem.path[-1:] != ("group",)]
    if "acme" in bad_keys:
        found = [problem for problem in found if problem.message != NEEDS_ACME]
    return [problem for problem in dict.fromkeys(found) if problem not in problems]


def _conflicts_of(
    model: type[Configuration], value: dict[str, object], indices: list[int], references: References
) -> Iterator[Problem]:
    """The conflicts in ``value``, whose routes have these indices in the file."""
    try:
        table = model.model_validate(value, by_alias=True, by_name=False)
    except ValidationError:
        return
    for problem in conflicts.problems(table, references):
        if problem.path[:1] != ("routes",):
            yield problem
        elif len(problem.path) > 1:  # a problem of the list as a whole may be due to the routes left out
            _, index, *rest = problem.path
            yield problem._replace(path=("routes", indices[int(index)], *rest))
