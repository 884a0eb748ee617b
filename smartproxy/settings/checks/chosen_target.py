"""A target that a callable gives for a connection, checked as one of a configuration is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import ValidationError

from smartproxy.model.plan.target import CLIENT_NAME
from smartproxy.settings.checks.model_errors import problems_of
from smartproxy.settings.checks.problems import Problem, got, line_of
from smartproxy.settings.checks.target_keys import target_problems
from smartproxy.settings.checks.tls import target_keys
from smartproxy.settings.checks.tls_files import target_files
from smartproxy.settings.tables.route import Target

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from smartproxy.settings.compile.references import References


def valid_target(answer: object, references: References) -> Target:
    """``answer`` as a target.

    :param references: what the configuration refers to; the files that the target names are read with it.
    :raises ValueError: where it is not valid. The text ends the sentence "the callable gave ...".
    """
    if not isinstance(answer, Target | Mapping):
        raise ValueError(f"{answer!a}: must be a Target, or a mapping with host and port")  # noqa: TRY004 - as for a wrong value
    try:
        target = Target.model_validate(answer)
    except ValidationError as error:
        raise _invalid(problems_of(error, Target)) from None
    problems = list(_problems(target, references))
    if problems:
        raise _invalid(problems)
    return target


def _problems(target: Target, references: References) -> Iterator[Problem]:
    for key in ("host", "port"):
        if callable(getattr(target, key)):
            yield Problem((key,), "must be a value: the callable of the target has chosen already")
    if CLIENT_NAME in target.hosts():
        yield Problem(
            ("host",), f"must be a name: the callable is given that of the client {got(CLIENT_NAME)}"
        )
    if target.is_discovered:
        key = "addresses" if target.srv is None else "srv"
        yield Problem((key,), "has no meaning here: the callable gives the target of one connection")
    yield from target_problems(target, (), references)
    yield from target_keys(target, ())
    yield from target_files(target, references.tls, ())


def _invalid(problems: Iterable[Problem]) -> ValueError:
    return ValueError("an invalid target: " + "; ".join(line_of(problem, None) for problem in problems))
