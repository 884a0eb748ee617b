"""Weights of SRV records as weights of targets.

A record's weight is its share among the records of its priority, and one of 0 gets "a very small chance" beside others
(RFC 2782); a target with the weight 0 would get nothing. A record whose host has several addresses shares its weight among
them. The weights of the configuration are whole numbers up to :data:`HIGHEST`, so the shares are scaled to fit:

* 10 and 20 with one address each stay 10 and 20, and 0 alone becomes 1;
* 0, 1 and 3 become 1, 333 and 1000;
* 10 with two addresses and 10 with one become 5, 5 and 10; 1 with two addresses and 1 with one become 1, 1 and 2.
"""

from __future__ import annotations

from fractions import Fraction
from math import lcm
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The highest weight of a target.
HIGHEST: Final = 1000


def target_weights(records: Sequence[tuple[int, int]]) -> list[int]:
    """The weight of each address of each record.

    :param records: weight and number of addresses, of records that serve together.
    """
    if not any(weight for weight, _ in records):
        records = [(1, addresses) for _, addresses in records]
    shares = [Fraction(weight, max(addresses, 1)) for weight, addresses in records]
    highest = max(shares, default=Fraction(1))
    whole = lcm(*(share.denominator for share in shares))
    factor = Fraction(whole)
    if not all(shares) or highest * whole > HIGHEST:
        factor = Fraction(HIGHEST) / highest
    return [max(1, round(share * factor)) for share in shares]
