"""The kernel's own notifications: what must be noticed at once, and not with the next poll."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from smartproxy.files.inotify import DirectoryNotifications
from smartproxy.files.states import identities, places_of
from smartproxy.flow.pace import Pace


class NotificationTests(TestCase):
    """On the kernel's own notifications: what must be noticed at once, and not with the next poll."""

    def setUp(self) -> None:
        made = TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.folder = Path(made.name)
        self.told: Deferred[None] = Deferred()
        from twisted.internet import reactor  # noqa: PLC0415 - importing it installs a reactor

        self.reactor = reactor
        self.notifications = DirectoryNotifications(reactor, self._tell)
        self.addCleanup(self.notifications.stop)

    def _tell(self) -> None:
        told, self.told = self.told, Deferred()
        told.callback(None)

    def watch(self, *folders: Path) -> None:
        use = self.notifications.prepare(identities(map(str, folders)), Pace())
        assert use is not None
        use()

    def noticed(self) -> Deferred[None]:
        return self.told.addTimeout(10, self.reactor)

    def test_callback_is_called_for_a_new_file(self) -> Deferred[None]:
        self.watch(self.folder)
        (self.folder / "a.pem").write_bytes(b"x")
        return self.noticed()

    async def test_folder_that_replaces_another_is_watched(self) -> None:
        """As ``mv certs old; mv new certs``: the watch went with the former folder."""
        folder, new = self.folder / "certs", self.folder / "new"
        folder.mkdir()
        new.mkdir()
        self.watch(folder)
        folder.rename(self.folder / "old")
        await self.noticed()
        new.rename(folder)
        self.watch(folder)
        (folder / "a.pem").write_bytes(b"x")
        await self.noticed()

    async def test_removed_folder_leaves_the_others_watched(self) -> None:
        """As Kubernetes removes the former version of a secret."""
        one, other = self.folder / "one", self.folder / "other"
        one.mkdir()
        other.mkdir()
        self.watch(one, other)
        one.rmdir()
        await self.noticed()
        (other / "a.pem").write_bytes(b"x")
        await self.noticed()

    async def test_folder_with_the_inode_of_a_removed_one_is_watched(self) -> None:
        one = self.folder / "one"
        one.mkdir()
        self.watch(one)
        one.rmdir()
        await self.noticed()
        one.mkdir()
        self.watch(one)
        (one / "a.pem").write_bytes(b"x")
        await self.noticed()

    async def test_link_that_is_exchanged_is_noticed(self) -> None:
        for version in ("1", "2"):
            (self.folder / version).mkdir()
        current, following = self.folder / "current", self.folder / "following"
        current.symlink_to("1")
        self.watch(*map(Path, places_of([str(current / "a.pem")])))
        following.symlink_to("2")
        await self.noticed()
        following.replace(current)
        await self.noticed()

    def test_missing_directory_is_ignored(self) -> None:
        use = self.notifications.prepare({"/no/such/directory": (0, 0)}, Pace())
        assert use is not None
        use()

    def test_folders_that_are_watched_already_need_nothing(self) -> None:
        self.watch(self.folder)
        self.assertIsNone(self.notifications.prepare(identities([str(self.folder)]), Pace()))
