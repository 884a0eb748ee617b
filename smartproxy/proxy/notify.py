"""Tells systemd what the process does: a client for the protocol of sd_notify(3).

::

    notifier = Notifier.of(os.environ)
    notifier.ready("listening on [::]:443")     # every port is bound
    notifier.reloading()
    notifier.reloaded("listening on [::]:443")  # or refused
    notifier.stopping("draining")
    watchdog = notifier.watchdog(reactor)       # keeps the service alive as long as the event loop runs
    notifier.store({"_443": [3]})               # listening sockets, for the next process: clients wait for it

A message is one datagram of ``NAME=VALUE`` lines to the socket that ``NOTIFY_SOCKET`` names, a path or, after ``@``, a name in
the abstract namespace (unix(7)). Without that variable nothing is sent, so the same code runs outside of systemd. A message
that cannot be sent is logged, and the proxy goes on: systemd then decides by its timeouts.

systemd restarts a service that has not sent ``WATCHDOG=1`` within ``WatchdogSec``; it is sent twice in that time, as
sd_watchdog_enabled(3) recommends, by the event loop, so a loop that hangs does not send it.
"""

from __future__ import annotations

import os
import socket
import time
from enum import Enum, auto
from typing import TYPE_CHECKING

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from twisted.internet.interfaces import IReactorTime

#: Characters of a status at most: ``systemctl status`` shows one line.
_LONGEST_STATUS = 500
#: Seconds that a change of state waits for systemd, whose queue all services share: without READY=1 it would end the
#: process. Other messages do not wait.
_WAIT = 1.0

log = Logger()
#: Descriptors in one message; the kernel takes 253 (SCM_MAX_FD).
_MOST_DESCRIPTORS = 250
#: Looks at other processes for each sign of life.
_LOOKS = 4


class ManagerView(Enum):
    """What systemd was told last."""

    STARTING = auto()
    READY = auto()
    RELOADING = auto()
    STOPPING = auto()


class Notifier:
    """Sends the state of the process to ``address``.

    :param address: of the socket: an absolute path, or ``@`` and a name; empty where there is none.
    :param watchdog_interval: seconds between two signs of life; ``None`` where systemd expects none.
    :param monotonic: nanoseconds of CLOCK_MONOTONIC.
    """

    def __init__(
        self,
        address: str = "",
        watchdog_interval: float | None = None,
        monotonic: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._watchdog_interval = watchdog_interval
        self._monotonic = monotonic
        self._told = ManagerView.STARTING
        self._reloads = 0
        self._failed = False
        self._stored: frozenset[str] = frozenset()
        self._former: frozenset[str] = frozenset()

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Notifier:
        """The notifier for the environment that systemd starts a process with."""
        return cls(environment.get("NOTIFY_SOCKET", ""), _interval(environment))

    def ready(self, status: str) -> None:
        """The process serves. A daemon that has forked is another process than systemd has started."""
        self._told = ManagerView.READY
        self._send("READY=1", f"MAINPID={os.getpid()}", _status(status), wait=_WAIT)

    def reloading(self) -> None:
        """A reload has begun. Several may be in progress."""
        self._reloads += 1
        if self._told is ManagerView.READY:
            self._told = ManagerView.RELOADING
            # Type=notify-reload compares this time with that of its SIGHUP (systemd.service(5)).
            usec = self._monotonic() // 1000
            self._send(
                "RELOADING=1", f"MONOTONIC_USEC={usec}", _status("reloading the configuration"), wait=_WAIT
            )

    def reloaded(self, status: str) -> None:
        """A reload has ended, whatever its result is; after the last one the process is ready again."""
        self._reloads -= 1
        if self._told is ManagerView.RELOADING and not self._reloads:
            self._told = ManagerView.READY
            self._send("READY=1", _status(status), wait=_WAIT)

    def stopping(self, status: str) -> None:
        """A stop has begun; nothing but the watchdog follows."""
        self._told = ManagerView.STOPPING
        self._send("STOPPING=1", _status(status), wait=_WAIT)

    def say(self, status: str) -> None:
        """Show this in ``systemctl status``."""
        if self._told is not ManagerView.STOPPING:
            self._send(_status(status))

    def watchdog(self, clock: IReactorTime, is_alive: Callable[[], bool] | None = None) -> LoopingCall | None:
        """Begin to send signs of life; the result stops it. ``None`` where systemd expects none.

        :param is_alive: whether to send one now. It is asked more often than systemd expects a sign: a process that is just
            started again is no reason to end all of them.
        """
        if self._watchdog_interval is None or not self._address:
            return None
        call = LoopingCall(self._show_life, is_alive)
        call.clock = clock
        call.start(self._watchdog_interval if is_alive is None else self._watchdog_interval / _LOOKS)
        return call

    def follow_up(self, names: Iterable[str]) -> None:
        """Replace what a former process has stored under these names, as soon as descriptors are stored.

        It may have stored more of them, and for other listeners: systemd would keep their ports open.
        """
        self._former = frozenset(names)

    def store(self, sockets: Mapping[str, Sequence[int]]) -> None:
        """Have systemd keep copies of these descriptors, and no others, while the service starts again.

        It passes them to the next process (:mod:`smartproxy.net.activated`). It keeps none unless its unit has
        ``FileDescriptorStoreMax=``. During a stop nothing changes: what is open until then is for the next process.

        :param sockets: by names of their own, in which a colon has another meaning.
        """
        if self._told is ManagerView.STOPPING:
            return
        former, self._former = self._former, frozenset()
        for name in sorted(former):
            self._send("FDSTOREREMOVE=1", f"FDNAME={name}", wait=_WAIT)
        for name in sorted(sockets.keys() - self._stored):
            for first in range(0, len(sockets[name]), _MOST_DESCRIPTORS):
                some = sockets[name][first : first + _MOST_DESCRIPTORS]
                self._send("FDSTORE=1", f"FDNAME={name}", wait=_WAIT, descriptors=some)
        for name in self._stored - sockets.keys():
            self._send("FDSTOREREMOVE=1", f"FDNAME={name}", wait=_WAIT)
        self._stored = frozenset(sockets)

    def _show_life(self, is_alive: Callable[[], bool] | None) -> None:
        if is_alive is None or is_alive():
            self._send("WATCHDOG=1")

    def _send(self, *lines: str, wait: float = 0.0, descriptors: Sequence[int] = ()) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sending:
                sending.settimeout(wait)
                message = "\n".join(lines).encode(errors="backslashreplace")
                sending.connect(self._address)
                socket.send_fds(sending, [message], descriptors)
        except OSError as why:
            if not self._failed:
                log.warn("systemd cannot be notified: {why}", why=why)
            self._failed = True
        else:
            self._failed = False


def _interval(environment: Mapping[str, str]) -> float | None:
    """Half of the time in which systemd expects a sign of life; ``None`` where it does not, or of another process."""
    usec, process = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not usec.isascii() or not usec.isdigit() or int(usec) == 0:
        return None
    return int(usec) / 2e6 if process in ("", str(os.getpid())) else None


def _status(text: str) -> str:
    """One line: a second one would be another variable."""
    line = " ".join(text.split())
    return f"STATUS={line if len(line) <= _LONGEST_STATUS else line[: _LONGEST_STATUS - 3] + '...'}"
