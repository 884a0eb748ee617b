"""TLS sessions with four workers: a client resumes its session in each of them, and in one that was started later."""

from __future__ import annotations

import json
import signal
import ssl

from tests.live.terminating import NAME, TlsCase
from tests.live.waiting import until
from tests.live.workers import WorkersCase, line

_WORKERS, _CONNECTIONS = 4, 100
_VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


class ResumptionTests(WorkersCase, TlsCase):
    def setUp(self):
        super().setUp()
        self.front = self.port()
        route = self.identifying("secured", self.front)
        certificate = {"certFile": str(self.authority.certificate(NAME))}
        route["action"] = route["action"] | {"tls": {"mode": "terminate", "certificate": certificate}}
        self.running = self.proxy(route, workers=_WORKERS)

    def talk(self, context, session=None):
        """A connection; whether it resumed ``session``, the process that served it, and its own session."""
        with self.secure(self.front, context=context, session=session) as client:
            pid = int(line(client))
            return client.session_reused, pid, client.session

    def contexts(self):
        """A client for each version of TLS."""
        for version in _VERSIONS:
            context = self.authority.client()
            context.minimum_version = context.maximum_version = version
            yield context

    def check(self, context, session, workers):
        """Resume ``session`` in many connections to all of the workers; each is new otherwise."""
        talks = [self.talk(context, session) for _ in range(_CONNECTIONS)]
        self.assertGreaterEqual(sum(resumed for resumed, _, _ in talks), _CONNECTIONS - 1)
        self.assertEqual({pid for _, pid, _ in talks}, set(workers))

    def test_session_is_resumed_by_every_worker_also_by_later_ones(self):
        """After a reload, and by a process that has replaced a killed one."""
        held = [(context, self.talk(context)[2]) for context in self.contexts()]
        workers = self.serving(self.running, _WORKERS)
        for context, session in held:
            self.check(context, session, workers.values())
        settings = json.loads(self.running.file.read_text())
        settings["routes"].append(self.identifying("plain", self.port()))
        self.running.file.write_text(json.dumps(settings))
        self.assertEqual(self.running.ask("/api/v1/reload", "POST")[0], 200)
        self.kill(workers[1])
        after = self.serving(self.running, _WORKERS, without=[workers[1]])
        for context, session in held:
            self.check(context, session, after.values())

    def test_session_of_a_killed_worker_is_resumed_by_the_others(self):
        """A worker that ends by SIGTERM has replaced itself likewise, with the same tickets."""
        (context,) = list(self.contexts())[1:]
        workers = self.serving(self.running, _WORKERS)
        ended = []
        for number in (signal.SIGKILL, signal.SIGTERM):
            _, pid, session = self.talk(context)
            self.kill(pid, number)
            ended.append(pid)
            workers = self.serving(self.running, _WORKERS, without=ended)
            until(lambda: len(self.workers(self.running)) == _WORKERS, "no other worker")
            self.check(context, session, workers.values())
