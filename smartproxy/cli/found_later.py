"""The targets of a group that are only known while the proxy runs, for ``explain``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.model.plan.target import Discover

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.model.plan import GroupPlan, TargetPlan


def found_later(plan: GroupPlan) -> Iterator[str]:
    """One line for each entry whose answers are targets."""
    for target in plan.written():
        if target.discover is not Discover.NOTHING:
            yield f"{_what(target)}, found while the proxy runs"


def _what(target: TargetPlan) -> str:
    assert isinstance(target.hosts, tuple)  # noqa: S101 - a callable is not looked up
    names = " and ".join(str(host) for host in target.hosts)
    if target.discover is Discover.SERVICES:
        return f"every answer of the SRV records of {names}"
    return f"every address of {names}, port {'preserve' if target.port is None else target.port}"
