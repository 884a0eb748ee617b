"""Commands against something that is no proxy, or a proxy of another version, and with an output that cannot be written."""

from __future__ import annotations

import errno

from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from smartproxy.cli import remote
from smartproxy.cli.admin_client import AdminClient
from smartproxy.cli.certificates import certificates
from smartproxy.cli.remote import connections, drain, reload
from smartproxy.cli.targets import target, targets
from smartproxy.cli.top import top
from smartproxy.cli.worker_list import workers
from tests.cli.test_remote import RemoteCase


class _Greeting(Resource):
    """A server whose every answer is a mapping."""

    isLeaf = True

    def render(self, _request):
        return b'{"hello": "\\u001b"}'


class OtherServerTests(RemoteCase):
    def test_reply_without_the_keys_of_a_proxy_is_one_line(self):
        """It was a traceback, and reload and drain said that they had succeeded."""
        self.use(RequestTraversalAgent(_Greeting()))
        for command, *arguments in (
            (connections,), (workers,), (certificates,), (certificates, "renew", "a.example"), (targets,),
            (target, "db", "one", "up"), (reload,), (drain,), (top, "--once"),
        ):  # fmt: skip
            result = self.run_command(command, *arguments)
            self.assertEqual(
                (result.exit_code, result.stdout, result.stderr.count("\n")), (1, "", 1), command
            )
            self.assertIn("is not a proxy of this version: ", result.stderr)


class OutputTests(SynchronousTestCase):
    def test_closed_pipe_is_left_to_click(self):
        """It exits with 1 without a word. Within the reactor it was logged with a traceback."""
        ended = []

        def react(main):
            Deferred.fromCoroutine(main(Clock())).addBoth(ended.append)
            raise SystemExit(0)

        async def command(_reactor):
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

        self.patch(remote.task, "react", react)
        self.assertRaises(BrokenPipeError, remote.run, command, AdminClient("http://h:1"))
        self.assertEqual(ended, [None])
