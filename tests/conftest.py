"""What pytest has to do itself so that it is as strict as trial.

The tests are trial's own ``SynchronousTestCase`` and ``TestCase``, and pytest runs those as they are: a
``TestCase`` waits for its Deferreds by running the reactor, and is failed for a dirty reactor. pytest-twisted
runs plain functions within a greenlet in which the reactor never stops, after which no ``TestCase`` can run it
again. So ``-p no:twisted`` in setup.cfg keeps it out of this run, and what it is for, tests as an embedder
writes them, has a run of its own: ``tests/embedded``.

What is left to do is for what trial does not look after: a ``SynchronousTestCase`` or a plain function that
leaves something in the reactor, and a plain function that loses an error. And as trial does, the tests run
in a directory of their own, so that ``mktemp`` leaves nothing in the checkout.
"""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet import reactor as installed
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The reactor as it is at run time: which interfaces it has is not known to a type checker.
_reactor: Any = installed


@pytest.fixture(scope="session", autouse=True)
def _own_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = os.getcwd()  # noqa: PTH109 - what os.chdir takes
    os.chdir(tmp_path_factory.mktemp("cwd"))
    yield
    os.chdir(before)


@pytest.fixture(autouse=True)
def _nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves delayed calls, sockets or unhandled errors, and clean up after it."""
    errors: list[str] = []

    def observe(event: dict[str, Any]) -> None:
        if "log_failure" in event:
            errors.append(event["log_failure"].getTraceback())

    watched = not isinstance(request.instance, SynchronousTestCase)  # trial looks after its own
    if watched:
        globalLogPublisher.addObserver(observe)
    before = _sockets()
    yield
    if watched:
        gc.collect()  # an error is only logged as lost when its Deferred goes
        globalLogPublisher.removeObserver(observe)
    left = [*_calls_left(), *_sockets_left(before)]
    if left:
        pytest.fail("left in the reactor:\n" + "\n".join(left), pytrace=False)
    if errors:
        pytest.fail("errors that nobody handled:\n" + "\n".join(errors), pytrace=False)


def _sockets() -> set[Any]:
    """What is watched, but for the reactor's own wakers, which come when it first runs."""
    return {*_reactor.getReaders(), *_reactor.getWriters()} - _reactor._internalReaders


def _calls_left() -> Iterator[str]:
    for call in _reactor.getDelayedCalls():
        if call.active():
            yield str(call)
            call.cancel()


def _sockets_left(before: set[Any]) -> Iterator[str]:
    for socket in _sockets() - before:
        yield repr(socket)
        _reactor.removeReader(socket)
        _reactor.removeWriter(socket)
