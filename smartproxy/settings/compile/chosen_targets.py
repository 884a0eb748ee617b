"""Targets that a callable gives for each connection, compiled: each different one once.

Compiling a target validates it, and may read files of TLS. A callable is expected to give the same few targets again and
again, as new objects or not.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from smartproxy.settings.tables.route import Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.model.plan import TargetPlan

#: Targets of one callable that are kept; the one that was given longest ago is dropped. As many as contexts of callables
#: for certificates.
_MOST: Final = 1024


class ChosenTargets:
    """The plans of the targets that one callable has given.

    :param compile_: makes the plan of an answer; raises ValueError.
    """

    def __init__(self, compile_: Callable[[object], TargetPlan]) -> None:
        self._compile = compile_
        self._plans: OrderedDict[str, TargetPlan] = OrderedDict()

    def __call__(self, answer: object) -> TargetPlan:
        """The plan of ``answer``.

        :raises ValueError: where it is not a valid target; the text says why.
        """
        key = _key(answer)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = self._compile(answer)
            if len(self._plans) > _MOST:
                self._plans.popitem(last=False)
        else:
            self._plans.move_to_end(key)
        return plan


def _key(answer: object) -> str:
    """Equal for answers that mean the same. A key that is set to its default differs from one that is inherited."""
    if isinstance(answer, Target):
        return repr(answer.model_dump(exclude_unset=True))
    return repr(dict(answer)) if isinstance(answer, Mapping) else ""
