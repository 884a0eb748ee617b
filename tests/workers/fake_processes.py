"""Processes of a proxy that exist only in the test: of the nursery and the workers, the ends that the supervisor has."""

from __future__ import annotations

from itertools import count

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from smartproxy.errors import WorkerFailed
from smartproxy.workers.worker_link import WorkerLink


class FakeForking:
    """Forks processes that do nothing.

    :ivar answers: of the next questions; where there is none, they are answered at once.
    :ivar asked: what it was asked.
    """

    #: No process of the machine has such a number: one that does not exit is sent a signal.
    numbers = count(2**22 + 1)

    def __init__(self, on_lost=None):
        self.on_lost = on_lost
        self.answers = []
        self.asked = []
        self.is_running = self.is_retired = False

    def start(self):
        self.is_running = True

    def watch(self):
        pass

    def ask_now(self, message, *_descriptors):
        self.asked.append(message["do"])

    def ask(self, message, *_descriptors):
        if not self.is_running:
            return fail(WorkerFailed("the process that forks workers has ended"))
        self.asked.append(message["do"])
        if self.answers:
            return self.answers.pop(0)
        return succeed(next(self.numbers) if message["do"] == "fork" else None)

    def retire(self):
        self.is_retired = True

    def close(self):
        self.is_running = False

    def end(self, answer=None):
        """The process ends; what it was asked fails."""
        self.close()
        if answer is not None:
            answer.errback(WorkerFailed("the process that forks workers has ended"))
        self.on_lost(self)


class FakeLink(WorkerLink):
    """A worker that does what it is told, at once unless ``answers`` has something for the command.

    :ivar told: the names of the commands.
    :ivar answers: by the name of the command: a Deferred.
    :ivar killed: the signals that it was sent.
    """

    #: The answer to Begin of those that are made from now on.
    begin_answer = None

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.told = []
        self.answers = {} if self.begin_answer is None else {"Begin": self.begin_answer}
        self.killed = []

    def open(self, end, reactor):
        self.is_connected = True
        self.ready.callback(None)

    async def take(self, sockets, **_):
        if sockets:
            self.told.append("Take")

    async def tell(self, command, **_arguments):
        name = command.__name__
        self.told.append(name)
        if self.has_ended:
            raise WorkerFailed("the other process has ended")
        if name in self.answers:
            await self.answers.pop(name)
        return {"active": 0}

    def kill(self, number):
        self.killed.append(number)

    def abandon(self):
        self.kill(9)
        if self.is_connected:
            self.end()

    def end(self):
        """The worker has ended."""
        if not self.has_ended:
            self.connectionLost(Failure(ConnectionDone()))


def waiting():
    """An answer that the test gives."""
    return Deferred()
