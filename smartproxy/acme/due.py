"""Which certificates are due: for an order, or to be forgotten because no client asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smartproxy.acme.schedule import MAX_RETRY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from smartproxy.acme.managed import ManagedCertificate

#: Certificates that are kept, although no client asks for them, because their last order has failed.
MOST_FAILED: Final = 1000


def due_for_order(all_: Iterable[ManagedCertificate], now: float) -> list[ManagedCertificate]:
    """Those to be ordered now: of those on demand the ones that a client has asked for since the last order.

    :param now: seconds since the epoch.
    """
    return [one for one in all_ if _is_due(one, now) and (one.asked or not one.is_on_demand)]


def due_to_be_forgotten(all_: Iterable[ManagedCertificate], now: float) -> list[ManagedCertificate]:
    """Those that are unwanted. One whose last order has failed is kept until it has been due for an hour, the longest back-off.

    Else its back-off would be forgotten too, and the next client would have another order made at once. Not more than
    :data:`MOST_FAILED` are kept: those that were due last.

    :param now: seconds since the epoch.
    """
    unwanted = [one for one in all_ if is_unwanted(one, now)]
    kept = [one for one in unwanted if one.failures and now < one.due + MAX_RETRY]
    kept = sorted(kept, key=lambda one: one.due)[-MOST_FAILED:]
    return list(set(unwanted).difference(kept))


def is_unwanted(managed: ManagedCertificate, now: float) -> bool:
    """Whether it was ordered on demand, and no client has asked for it since the last order, although the next one is due.

    :param now: seconds since the epoch.
    """
    return managed.is_on_demand and not managed.asked and _is_due(managed, now)


def _is_due(managed: ManagedCertificate, now: float) -> bool:
    return managed.ordering is None and managed.due <= now
