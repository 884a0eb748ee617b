"""Finds workers that are stuck: each is asked every two seconds whether its event loop runs."""

from __future__ import annotations

import signal
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smartproxy.workers.worker_link import WorkerLink

log = Logger()

#: Seconds between two questions, and how many may be without an answer until a worker counts as stuck.
_INTERVAL, _MISSING = 2.0, 5


class SignsOfLife:
    """Asks workers, and ends those that do not answer.

    :param links: the workers, which change.
    :param clock: the reactor.
    """

    def __init__(self, links: Sequence[WorkerLink], clock: Any) -> None:
        self._links = links
        self._missing: dict[WorkerLink, int] = {}
        self._asking = LoopingCall(self._ask_all)
        self._asking.clock = clock

    def start(self) -> None:
        """Begin to ask."""
        if not self._asking.running:
            self._asking.start(_INTERVAL, now=False).addErrback(
                lambda why: log.failure("workers are no longer asked for signs of life", why)
            )

    def stop(self) -> None:
        """Ask no more."""
        if self._asking.running:
            self._asking.stop()

    def forget(self, link: WorkerLink) -> None:
        """A worker has ended."""
        self._missing.pop(link, None)

    @property
    def all_answer(self) -> bool:
        """Whether no answer is missing but those of the last moment."""
        return all(missing <= 1 for missing in self._missing.values())

    def _ask_all(self) -> None:
        for link in list(self._links):
            if not link.ready.called:
                continue  # its start has a limit of its own
            missing = self._missing[link] = self._missing.get(link, 0) + 1
            if missing > _MISSING:
                _end(link, signal.SIGABRT if missing == _MISSING + 1 else signal.SIGKILL)
            elif missing == 1:
                Deferred.fromCoroutine(link.ping()).addCallbacks(
                    partial(self._answered, link), lambda _: None
                )

    def _answered(self, link: WorkerLink, _: object) -> None:
        self._missing.pop(link, None)


def _end(link: WorkerLink, number: int) -> None:
    log.error(
        "worker {slot} (process {process}) is stuck, and is ended", slot=link.slot, process=link.process
    )
    link.kill(number)
