"""Notices changes of files: polls them, and checks them on inotify events.

::

    watch = FileWatch(clock, changed, call, reactor)
    watch.follow(FileList({file: state_of(file)}))
    watch.start()

Files are polled every 10 s, and checked on inotify events. A change is applied after 1 s without further change: a file that
is written in place is not read before it is complete, and of several files that belong together all are.

Files are looked at in a thread. What is done about a change is up to ``changed``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from smartproxy.files.inotify import DirectoryNotifications
from smartproxy.files.states import changed_between, identities, places_of, state_of
from smartproxy.flow.pace import Pace
from smartproxy.flow.threads import call_here

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from twisted.internet.interfaces import IDelayedCall, IReactorFDSet, IReactorTime

    from smartproxy.files.states import FileStates
    from smartproxy.flow.threads import Call

#: Seconds between two polls.
POLL_INTERVAL: Final = 10.0
#: Seconds without further change after which a change is applied.
SETTLE_TIME: Final = 1.0
#: Seconds from an event to the poll.
_GATHER_TIME: Final = 0.1

log = Logger()


class Look(NamedTuple):
    """The files as they are now.

    :ivar is_as_applied: whether they are as they were when they were last read.
    :ivar is_as_polled: whether they are as they were at the last poll.
    :ivar watch: watches their folders, to be called in the event loop; ``None`` if they are watched already.
    """

    states: FileStates
    is_as_applied: bool
    is_as_polled: bool
    watch: Callable[[], None] | None


class FollowedFiles(Protocol):
    """What a watch follows."""

    def states_as_read(self) -> FileStates:
        """Every file as it was when it was read, so that no later change is missed."""

    def look(
        self, applied: FileStates, polled: FileStates, notifications: DirectoryNotifications | None = None
    ) -> Look:
        """The state of every file now; called in a thread."""


FilesT = TypeVar("FilesT", bound=FollowedFiles)


class FileList:
    """A list of files to follow.

    :param states: each file as it was when it was read.
    """

    def __init__(self, states: FileStates) -> None:
        self._states = states

    def states_as_read(self) -> FileStates:
        """Every file as it was when it was read."""
        return dict(self._states)

    def look(
        self, applied: FileStates, polled: FileStates, notifications: DirectoryNotifications | None = None
    ) -> Look:
        """The state of every file now."""
        pace = Pace()
        folders = identities(places_of(self._states)) if notifications is not None else {}
        states = {file: state_of(file) for file in pace.over(self._states)}
        return compared(states, folders, applied, polled, notifications, pace)


def compared(
    states: FileStates,
    folders: Mapping[str, tuple[int, int]],
    applied: FileStates,
    polled: FileStates,
    notifications: DirectoryNotifications | None,
    pace: Pace,
) -> Look:
    """The result of a look.

    :param states: of the files now.
    :param folders: those to watch, with device and inode.
    :param applied: their states when they were last read.
    :param polled: their states at the last poll.
    :param notifications: is prepared to watch the folders.
    """
    watch = None if notifications is None else notifications.prepare(folders, pace)
    is_as_applied, is_as_polled = (not changed_between(one, states, pace) for one in (applied, polled))
    return Look(states, is_as_applied, is_as_polled, watch)


class FileWatch(Generic[FilesT]):
    """Watches files, and reports when they have changed.

    :param clock: schedules polls.
    :param changed: is given what was followed, and the states of its files before and now.
    :param call: calls what takes long, in a thread.
    :param reactor: reads inotify events; without it, files are only polled.
    :param interval: seconds between two polls.
    """

    def __init__(
        self,
        clock: IReactorTime,
        changed: Callable[[FilesT, FileStates, FileStates], Awaitable[None]],
        call: Call = call_here,
        reactor: IReactorFDSet | None = None,
        *,
        interval: float = POLL_INTERVAL,
    ) -> None:
        self._clock = clock
        self._changed = changed
        self._call = call
        self._interval = interval
        #: What is followed; another object after each reload.
        self._followed: FilesT | None = None
        #: The files as they were when they were last read, and as they were at the last poll.
        self._applied: FileStates = {}
        self._polled: FileStates = {}
        #: When they were first seen in the latter state, and when the last poll ended.
        self._polled_at = self._last_poll_at = float("-inf")
        self._settling: IDelayedCall | None = None
        self._is_polling = False
        self._loop = LoopingCall(self.poll)
        self._loop.clock = clock
        self._notifications = None if reactor is None else DirectoryNotifications(reactor, self._on_event)

    def follow(self, files: FilesT) -> None:
        """Watch these files, and no others, from now on."""
        self._followed = files
        self._applied = self._polled = files.states_as_read()
        self._poll_after(0)

    def start(self) -> None:
        """Begin to watch."""
        if not self._loop.running:
            self._loop.start(self._interval, now=False)
            self._poll_after(0)

    def stop(self) -> None:
        """Stop watching."""
        if self._loop.running:
            self._loop.stop()
        if self._settling is not None and self._settling.active():
            self._settling.cancel()
        self._stop_notifications()

    def poll(self) -> Deferred[None]:
        """Report changes that have settled: those that the poll before has seen in the same state."""
        return Deferred.fromCoroutine(self._poll())

    def is_current(self, files: FilesT) -> bool:
        """Whether there was neither a reload nor a stop while a thread was at work."""
        if not self._loop.running:
            self._stop_notifications()
        elif files is not self._followed:
            self._poll_after(0)
        return files is self._followed and self._loop.running

    async def _poll(self) -> None:
        if self._is_polling or self._followed is None:
            return
        self._is_polling = True
        try:
            await self._look(self._followed)
        except Exception:  # the next poll may succeed
            log.failure("looking for changed files failed")
        finally:
            self._is_polling = False
            self._last_poll_at = self._clock.seconds()

    async def _look(self, files: FilesT) -> None:
        found = await self._call(partial(files.look, self._applied, self._polled, self._notifications))
        if found.watch is not None:
            found.watch()
            self._poll_after(SETTLE_TIME)  # a change may have come after the look and before the watch
        if not self.is_current(files):
            return
        if found.is_as_applied:
            self._polled = found.states
        elif not self._has_settled(found):
            self._poll_after(SETTLE_TIME)
        else:
            before, self._applied = self._applied, found.states
            await self._changed(files, before, found.states)

    def _has_settled(self, found: Look) -> bool:
        now = self._clock.seconds()
        if not found.is_as_polled:
            self._polled, self._polled_at = found.states, now
        return now - self._polled_at >= SETTLE_TIME

    def _on_event(self) -> None:
        # One poll serves the many events of a change; and where a folder changes all the time, not every event needs one.
        since = self._clock.seconds() - self._last_poll_at
        self._poll_after(max(_GATHER_TIME, SETTLE_TIME - since))

    def _poll_after(self, seconds: float) -> None:
        """Poll after some time, unless a poll is due anyway."""
        if self._loop.running and (self._settling is None or not self._settling.active()):
            self._settling = self._clock.callLater(seconds, self.poll)

    def _stop_notifications(self) -> None:
        if self._notifications is not None:
            self._notifications.stop()
