"""Waiting for something to become true, and never longer: what a live test does in place of sleeping."""

from __future__ import annotations

import time

#: Seconds. Much more than anything here takes on a busy machine: only a test that fails waits as long.
PATIENCE = 30.0
_PAUSE = 0.01


def until(look, what, within=PATIENCE):
    """What ``look()`` answers, as soon as that is true.

    :raises AssertionError: where it is not within ``within`` seconds; it says ``what`` was waited for.
    """
    deadline = time.monotonic() + within
    while True:
        answer = look()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {within} s: {what} (last answer: {answer!r})")
        time.sleep(_PAUSE)


def settled(look, quiet=0.3, within=PATIENCE):
    """What ``look()`` answers once it has been the same for ``quiet`` seconds: a transfer that has stopped."""
    deadline = time.monotonic() + within
    answer, since = look(), time.monotonic()
    while time.monotonic() - since < quiet:
        if time.monotonic() >= deadline:
            raise AssertionError(f"still changing after {within} s: {answer!r}")
        time.sleep(_PAUSE)
        now = look()
        if now != answer:
            answer, since = now, time.monotonic()
    return answer
