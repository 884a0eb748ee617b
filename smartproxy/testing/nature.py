"""The properties of an in-memory connection: its window, how writes are split, and how long they take."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass
class Nature:
    """The properties of a connection.

    :ivar window: bytes that can be sent without being read.
    :ivar sizes: sizes of the pieces that writes are split into, chosen at random; empty: not split.
    :ivar delays: seconds that a piece takes to arrive, chosen at random.
    :ivar late: deliver one more piece after ``pauseProducing``, as TLS does with data that it has already decrypted.
    :ivar half_closes: ``False`` is TLS: the end of one direction ends both.
    :ivar random: chooses sizes and delays; the same seed in every run.
    """

    window: int = 64 * 1024
    sizes: Sequence[int] = ()
    delays: Sequence[float] = (0.0,)
    late: bool = False
    half_closes: bool = True
    random: Random = field(default_factory=lambda: Random(7))  # noqa: S311 - a test must be reproducible

    def size(self) -> int:
        """Return the size of the next piece."""
        return self.random.choice(self.sizes) if self.sizes else self.window

    def delay(self) -> float:
        """Return the delay of the next piece in seconds."""
        return self.random.choice(self.delays)
