"""What connecting asks of its surroundings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from zope.interface import Interface

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from twisted.internet.defer import Deferred

    from smartproxy.model.address import Endpoint
    from smartproxy.model.plan.check import CheckPlan
    from smartproxy.upstream.candidate import Candidate


# ruff: noqa: N805 - an interface has no self


class DialProgress(Protocol):
    """What is stored of the dials of a connection: in its :class:`~smartproxy.model.record.ConnectionRecord`.

    :ivar target: the address that was dialed last, or the name that has none.
    :ivar attempts: how many addresses were dialed.
    :ivar dial_seconds: how long connecting took, or was tried.
    :ivar member: the target that was connected to; ``None`` before.
    """

    target: Endpoint | None
    attempts: int
    dial_seconds: float | None
    member: object


class IResolver(Interface):
    """Names to addresses, without blocking."""

    def resolve(name: str) -> Deferred[Sequence[str]]:
        """All addresses of ``name``, both families, in the order to try them.

        Fails with :class:`~smartproxy.errors.DialFailed`, never with an empty answer.
        """


class ICheck(Interface):
    """Asks a target once whether it is up."""

    def __call__(candidate: Candidate, plan: CheckPlan) -> Deferred[str]:
        """Ask ``candidate`` as ``plan`` says. Fires with what was found, in one line.

        Fails with :class:`~smartproxy.errors.CheckFailed`, :class:`~smartproxy.errors.DialFailed` or
        :class:`~smartproxy.errors.PeerClosed` where the target has not passed; they may also be raised. The caller cancels it
        when its time is over.
        """


class IBalancer(Interface):
    """Decides which candidate of a group gets the next connection. One that is ``inside`` may be chosen."""

    def begin(candidates: Sequence[Candidate]) -> None:
        """Start again with ``candidates``, in the order of the configuration; none of them is inside yet."""

    def enter(candidate: Candidate) -> None:
        """``candidate`` is inside now."""

    def leave(candidate: Candidate) -> None:
        """``candidate`` is not inside any more."""

    def changed(candidate: Candidate) -> None:
        """``candidate``, which is inside, has one connection more or less."""

    def choose(client: str, tried: Collection[Candidate]) -> Candidate | None:
        """The candidate for the next connection, or ``None`` if none is inside that is not among ``tried``.

        :param client: the address of the client, the announced one behind a trusted peer.
        """
