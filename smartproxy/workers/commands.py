"""What the supervisor and a worker say to each other, over a unix stream socket (twisted.protocols.amp).

A value of AMP has at most 65,535 bytes, and a listening socket is no value at all: both are passed as descriptors
(unix(7), SCM_RIGHTS), big values as files in memory (:mod:`smartproxy.workers.passed_values`).
"""

from __future__ import annotations

from typing import ClassVar

from twisted.protocols.amp import Boolean, Command, Descriptor, Integer, String, Unicode

from smartproxy.errors import WorkerFailed


class _Failing(Command):
    """A command that can fail with words for the log."""

    errors: ClassVar = {WorkerFailed: b"FAILED"}


# -- from the supervisor to a worker -------------------------------------------------------------------


class Take(Command):
    """A listening socket, for the next :class:`Begin` or :class:`Listen`; with ``change`` for the next :class:`Commit`."""

    arguments: ClassVar = [
        (b"change", Boolean()),
        (b"address", Unicode()),
        (b"port", Integer()),
        (b"slot", Integer()),
        (b"opened", Descriptor()),
    ]


class Begin(_Failing):
    """Serve on the sockets that were taken."""


class Listen(_Failing):
    """Serve on the sockets of another worker, which has ended, too."""


class Release(Command):
    """Close the sockets of ``slot``: its own worker serves again."""

    arguments: ClassVar = [(b"slot", Integer())]


class Prepare(_Failing):
    """Prepare this configuration, a file of :mod:`smartproxy.workers.passed_settings`."""

    arguments: ClassVar = [(b"settings", Descriptor())]


class Commit(_Failing):
    """Put the prepared configuration in force."""


class Abort(Command):
    """Give up the prepared configuration, and the sockets that were taken for it."""


class Renew(_Failing):
    """Certificate files have changed: pickled, their states before and now."""

    arguments: ClassVar = [(b"states", Descriptor())]


class Drain(Command):
    """Refuse new connections."""


class Stop(Command):
    """Refuse new connections, let live ones end for a while, and exit."""


class Reopen(Command):
    """Reopen the access log."""


class Ask(_Failing):
    """A question about the connections of the worker, with pickled arguments. It is answered by :class:`GiveAnswer` before this returns."""

    arguments: ClassVar = [(b"number", Integer()), (b"question", Unicode()), (b"arguments", Descriptor())]


class Ping(Command):
    """Whether the event loop runs."""

    response: ClassVar = [
        (b"active", Integer()),
    ]


class TargetChecked(Command):
    """The result of a check of a target: from the worker that has made it to the supervisor, and on to the others."""

    requiresAnswer = False
    arguments: ClassVar = [
        (b"group", Unicode()),
        (b"name", Unicode()),
        (b"address", Unicode()),
        (b"passed", Boolean()),
        (b"detail", Unicode()),
    ]


class OcspAsked(Command):
    """What has come of an OCSP request: likewise.

    ``fingerprint`` is that of the certificate. ``response`` is empty where there is none that can be used, for the reason ``why``.
    """

    requiresAnswer = False
    arguments: ClassVar = [
        (b"fingerprint", Unicode()),
        (b"response", String()),
        (b"why", Unicode()),
    ]


# -- from a worker to the supervisor -------------------------------------------------------------------


class Ready(Command):
    """The worker can begin."""


class Resign(Command):
    """The worker got a SIGTERM: it refuses new connections, lets live ones end for a while, and exits."""


class GiveAnswer(Command):
    """The pickled answer to the question with this number."""

    arguments: ClassVar = [(b"number", Integer()), (b"answer", Descriptor())]


class Farewell(Command):
    """The last answer to the question for a snapshot: the worker exits."""

    arguments: ClassVar = [(b"snapshot", Descriptor())]
