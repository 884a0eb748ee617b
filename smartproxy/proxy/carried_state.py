"""Carries the state of unchanged routes over to another configuration.

The sessions of a resource and the room of a tarpit belong to objects that are made when a configuration is compiled. What a route
of the same name had before is shared with the new one where that says the same. What no route has any more is not referred to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.flow.carried_state import CarriesState

if TYPE_CHECKING:
    from smartproxy.model.plan import ProxyPlan


def carry_over(former: ProxyPlan, plan: ProxyPlan) -> None:
    """Let ``plan`` go on with the state of ``former``, which is in force."""
    for route in plan.routes:
        before = former.by_name.get(route.name)
        if before is not None:
            _carry(before.answers, route.answers)
            _carry(before.handler, route.handler)


def _carry(before: object, now: object) -> None:
    # A program may give the same object again.
    if isinstance(now, CarriesState) and now is not before:
        now.carry_over(before)
