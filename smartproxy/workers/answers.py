"""What a worker answers the supervisor, and how its refusals are raised there.

::

    answered = await answer(proxy, clock, "end_connection", {"number": 7})      # in the worker
    value_of(answered)                                                          # in the supervisor: True

=====================  ==========================================  =======================================================
Question               Arguments                                   Answer
=====================  ==========================================  =======================================================
``snapshot``                                                       :class:`~smartproxy.workers.snapshot.WorkerSnapshot`
``totals``                                                         bytes received and sent since the worker began
``status``                                                         as :meth:`IProxyControl.status`
``live``               ``route``, ``client``, ``limit``            as :meth:`IProxyControl.live`
``end_connection``     ``number``                                  whether there was one
``targets``            ``group``                                   as :meth:`IProxyControl.targets`
``peek``               ``group``, ``client``                       as :meth:`IProxyControl.peek`
``set_target``         ``group``, ``name``, ``changes``            as :meth:`IProxyControl.set_target`
``hold_target``        ``group``, ``name``, ``changes``            nothing: what was set holds, or will
``certificates``                                                   as :meth:`IProxyControl.certificates`
``renew_certificate``  ``name``                                    as :meth:`IProxyControl.renew_certificate`
=====================  ==========================================  =======================================================

A refusal, like :class:`~smartproxy.errors.UnknownTarget`, is an answer too. Any other exception is a bug, and raised here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from smartproxy.errors import NotAutomatic, UnknownCertificate, UnknownTarget
from smartproxy.metrics import totals
from smartproxy.proxy.local_control import ProxyAnswers
from smartproxy.workers.snapshot import take_snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twisted.internet.interfaces import IReactorTime

    from smartproxy.proxy.local_control import AnsweringProxy

#: The name of the class of a refusal and its text, or an empty name and the value. All of it can be pickled.
Answered: TypeAlias = tuple[str, Any]

#: Questions that are methods of :class:`ProxyAnswers`.
_METHODS: Final = frozenset(
    {
        "status", "live", "end_connection", "targets", "peek", "set_target", "hold_target", "certificates",
        "renew_certificate",
    }
)  # fmt: skip
#: Refusals, a class before its base classes.
_REFUSALS: Final[tuple[type[Exception], ...]] = (UnknownTarget, UnknownCertificate, NotAutomatic, ValueError)


async def answer(
    proxy: AnsweringProxy, clock: IReactorTime, question: str, arguments: Mapping[str, object]
) -> Answered:
    """Answer a question of the supervisor.

    :param clock: the reactor, to which long answers return in between.
    :raises KeyError: for an unknown question.
    """
    try:
        return "", await _value(proxy, clock, question, arguments)
    except _REFUSALS as refused:
        name = next(known.__name__ for known in _REFUSALS if isinstance(refused, known))
        return name, str(refused)


async def _value(
    proxy: AnsweringProxy, clock: IReactorTime, question: str, arguments: Mapping[str, object]
) -> object:
    if question == "snapshot":
        return await take_snapshot(proxy, clock)
    if question == "totals":
        return tuple(totals.overall(proxy.registry))
    if question not in _METHODS:
        raise KeyError(question)
    return await getattr(ProxyAnswers(proxy), question)(**arguments)


def value_of(answered: Answered) -> Any:
    """The value of an answer.

    :raises UnknownTarget: and so on, if the answer is a refusal.
    """
    refusal, value = answered
    for known in _REFUSALS:
        if known.__name__ == refusal:
            raise known(value)
    return value
