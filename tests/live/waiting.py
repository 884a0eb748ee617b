"""Waiting for a condition, with a limit: live tests do this instead of sleeping."""

from __future__ import annotations

import time

#: Seconds: much longer than any condition takes on a busy machine, so that only a failing test waits as long.
PATIENCE = 30.0
_PAUSE = 0.01


def until(look, what, within=PATIENCE):
    """Call ``look`` until it returns a true value, and return that.

    :param what: description of the condition, for the error message.
    :raises AssertionError: if the value is not true within ``within`` seconds.
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
    """Call ``look`` until its value has not changed for ``quiet`` seconds, and return that: a transfer has stopped."""
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
