"""When a certificate is renewed, and when a failed order is tried again: pure functions.

Times are in seconds since the epoch; ``chance`` is a random number from 0 to 1.
"""

from __future__ import annotations

from typing import Final

#: The part of its lifetime that is left when a certificate is renewed, as most clients do: 30 of 90 days, 2 of 6.
_THIRD: Final = 1 / 3
#: The part of that time by which a renewal is made earlier at random, so that many certificates spread out.
_JITTER: Final = 0.1
#: Seconds until the first retry, and at most. The share is added at random.
FIRST_RETRY: Final = 5.0
MAX_RETRY: Final = 3600.0
_RETRY_JITTER: Final = 0.2
#: Longest wait that a directory may ask for.
MAX_WAIT: Final = 86400.0


def renewal_time(not_before: float, not_after: float, renew_before: float | None, chance: float) -> float:
    """When to renew a certificate.

    :param renew_before: seconds before its expiry; ``None`` is a third of its lifetime, and so is what is longer than it.
    """
    lifetime = not_after - not_before
    left = lifetime * _THIRD
    if renew_before is not None and renew_before < lifetime:
        left = renew_before
    # Never more than once in a tenth of a lifetime, however early the operator wants it.
    return max(not_after - left * (1 + _JITTER * chance), not_before + lifetime / 10)


def retry_delay(failures: int, chance: float, retry_after: float | None = None) -> float:
    """Seconds until an order that has failed ``failures`` times, from 1, is tried again.

    :param retry_after: what the directory asks for.
    """
    if retry_after is not None:
        return min(max(retry_after, FIRST_RETRY), MAX_WAIT)
    doubled = FIRST_RETRY * 2.0 ** min(failures - 1, 20)
    return min(doubled * (1 + _RETRY_JITTER * chance), MAX_RETRY)
