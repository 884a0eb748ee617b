"""What connecting asks of its surroundings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from zope.interface import Interface

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from twisted.internet.defer import Deferred

    from smartproxy.model.address import TargetAddress
    from smartproxy.model.plan.check import CheckPlan
    from smartproxy.upstream.candidate import Candidate


class DialProgress(Protocol):
    """What is stored of the dials of a connection: in its :class:`~smartproxy.model.record.ConnectionRecord`.

    :ivar target: the address that was dialed last, or the name that has none.
    :ivar attempts: how many addresses were dialed.
    :ivar dial_seconds: how long connecting took, or was tried.
    :ivar member: the target that was connected to; ``None`` before.
    """

    target: TargetAddress | None
    attempts: int
    dial_seconds: float | None
    member: object


class IResolver(Interface):
    """Names to addresses, without blocking."""

    def resolve(name: str) -> Deferred[Sequence[str]]:  # noqa: N805 - an interface has no self
        """All addresses of ``name``, both families, in the order to try them.

        Fails with :class:`~smartproxy.errors.DialFailed`, never with an empty answer.
        """


class ICheck(Interface):
    """Asks a target once whether it is up."""

    def __call__(candidate: Candidate, plan: CheckPlan) -> Deferred[str]:  # noqa: N805 - an interface has no self
        """Ask ``candidate`` as ``plan`` says. Fires with what was found, in one line.

        Fails with :class:`~smartproxy.errors.CheckFailed`, :class:`~smartproxy.errors.DialFailed` or
        :class:`~smartproxy.errors.PeerClosed` where the target has not passed; they may also be raised. The caller cancels it
        when its time is over.
        """


@runtime_checkable
class Balancer(Protocol):
    """Decides which target of a group gets the next connection. smartproxy's own have these methods, and a program's may.

    The group says which candidates are ``inside``: up, of the tier in use (backups only while no other is up) and below their
    ``maxConnections``. Only those may be chosen. All methods are called in the thread of the reactor, for every connection,
    and must return at once; none may change the group.
    """

    def begin(self, candidates: Sequence[Candidate]) -> None:
        """Start again with ``candidates``, in the order of the configuration. None of them is inside yet.

        Called when the group is made, and when a reload, another tier or a weight has changed it.
        """

    def enter(self, candidate: Candidate) -> None:
        """``candidate`` is inside now."""

    def leave(self, candidate: Candidate) -> None:
        """``candidate`` is not inside any more."""

    def changed(self, candidate: Candidate) -> None:
        """``candidate``, which is inside, has one connection more or less."""

    def choose(self, client: str, tried: Collection[Candidate]) -> Candidate | None:
        """The candidate for the next connection: one that is inside and not among ``tried``.

        ``None``: there is none now. The client waits in the queue of the group then, or is refused.

        :param client: the address of the client, the announced one behind a trusted peer.
        :param tried: candidates to which this connection could not be made; usually empty.
        """
