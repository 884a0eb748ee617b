"""Where discovered targets come from, and what is asked for names."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.defer import Deferred


# ruff: noqa: N805 - an interface has no self


class ITargetSource(Interface):
    """More targets of a group, which change while the proxy runs.

    A source that has no answer keeps its last one.
    """

    targets = Attribute(
        """``Sequence[TargetPlan]``: what was found last, in an order that does not change with each answer. Unchanged targets
        are equal to the former ones. A plan with ``discover`` is a name, which is asked for in turn."""
    )
    is_settled = Attribute(
        """``bool``: whether there was an answer, or the first attempt to get one has failed."""
    )

    def start(changed: Callable[[], None]) -> None:
        """Begin to look for targets. ``changed`` is called when one of the attributes has changed."""

    def stop() -> None:
        """Stop, for good: ``changed`` is not called any more."""


class Answer(NamedTuple):
    """The records of a name.

    :ivar records: addresses, or :class:`Service` records; in an order of their own, without repetitions.
    :ivar ttl: seconds for which they are valid; ``None`` where that is not known, infinite where they cannot change.
    """

    records: tuple[object, ...]
    ttl: float | None


class Service(NamedTuple):
    """One SRV record (RFC 2782).

    :ivar host: in lower case, without a final dot.
    """

    priority: int
    weight: int
    port: int
    host: str


class IRecords(Interface):
    """Asks for the records of names. Every Deferred fails with :class:`~smartproxy.errors.LookupFailed`."""

    def addresses(name: str, known: Sequence[str]) -> Deferred[Answer]:
        """The addresses of a name, of both families.

        :param known: those of the last answer. Where only one family is answered, those of the other one are kept.
        """

    def services(name: str, known: Sequence[Service]) -> Deferred[Answer]:
        """The SRV records of a name; none where the service is said to be not available (the target ``.``)."""

    def stop() -> None:
        """Cancel every question in progress."""
