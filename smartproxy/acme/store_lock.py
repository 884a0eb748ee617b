"""A lock of the store, and the last failed order of what it locks.

::

    lock = storage.lock(names)              # None while another process holds it
    failed = lock.failed_order()            # of any process on the store; None without one
    lock.keep(FailedOrder(...))             # or None, once an order has succeeded
    lock.release()

An authority limits failed proofs for a name, and orders of an account. So processes on one store have one back-off together, and
the record of a failure is in the file of the lock: the process that reads it holds the lock, and no other orders meanwhile.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from smartproxy.acme.schedule import retry_delay

if TYPE_CHECKING:
    from io import BufferedRandom


class OrderAttempts(NamedTuple):
    """What a process knows of its own orders of one certificate.

    :ivar failures: how many have failed since the last one that has not.
    :ivar failed_proofs: how many because control over a name was not proven.
    :ivar since: failures before do not delay an order: it was asked for then. Seconds since the epoch.
    """

    failures: int = 0
    failed_proofs: int = 0
    since: float = 0.0


class FailedOrder(NamedTuple):
    """An order that has failed.

    :ivar at: when, in seconds since the epoch.
    :ivar why: one line.
    :ivar failures: how many have failed in a row, this one included.
    :ivar failed_proofs: as of :class:`OrderAttempts`, this one included.
    :ivar retry_after: what the directory has asked for, in seconds.
    """

    at: float
    why: str
    failures: int
    failed_proofs: int
    retry_after: float | None

    def delays(self, attempts: OrderAttempts, now: float) -> bool:
        """Whether no order is to be made yet. One that is from the future says that a clock was set."""
        until = self.at + retry_delay(self.failures, 0.0, self.retry_after)
        return attempts.since <= self.at <= now < until


class StoreLock:
    """A lock of the store that this process holds. It is released at the latest when nothing refers to it any more."""

    def __init__(self, file: BufferedRandom) -> None:
        self._file = file

    def failed_order(self) -> FailedOrder | None:
        """The last order, if it has failed. What cannot be read is as good as none."""
        try:
            self._file.seek(0)
            at, why, failures, failed_proofs, retry_after = json.loads(self._file.read())
            wanted = None if retry_after is None else float(retry_after)
            return FailedOrder(float(at), str(why), int(failures), int(failed_proofs), wanted)
        except (OSError, ValueError, TypeError, OverflowError):
            return None

    def keep(self, failed: FailedOrder | None) -> None:
        """Record how the last order has ended. On a full disk, or after the release, it is not recorded."""
        with suppress(OSError, ValueError):
            self._file.seek(0)
            self._file.truncate()
            self._file.write(b"" if failed is None else json.dumps(failed).encode())
            self._file.flush()

    def release(self) -> None:
        """Let another process have it."""
        with suppress(OSError):  # of what a full disk has not taken
            self._file.close()

    def __del__(self) -> None:
        """An order may be cancelled while the lock is on its way from a thread."""
        self.release()
