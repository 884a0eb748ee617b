"""Address lists in files: read, and followed when they change."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import InvalidAddressFile
from smartproxy.files.watch import POLL_INTERVAL, SETTLE_TIME
from smartproxy.security.address_file_watch import AddressFileWatch
from smartproxy.security.address_files import AddressLists, read_address_file
from smartproxy.security.address_set import AddressSet


class FileTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        made = TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.path = str(Path(made.name) / "list.txt")

    def write(self, text: str | bytes) -> None:
        Path(self.path).write_bytes(text.encode() if isinstance(text, str) else text)


class ReadTests(FileTestCase):
    def test_entries_comments_and_blank_lines(self) -> None:
        self.write("\ufeff# scanners\n\n10.0.0.0/8  # a network\r\n 192.0.2.1 \n2001:db8::1-2001:db8::f\n")
        found = read_address_file(self.path)
        for address, expected in (
            ("10.1.2.3", True),
            ("192.0.2.1", True),
            ("2001:db8::a", True),
            ("192.0.2.2", False),
        ):
            self.assertIs(address in found, expected, address)
        self.assertEqual(
            str(found),
            f"{self.path} (10.0.0.0/8, 192.0.2.1, 2001:db8::1, 2001:db8::2/127, 2001:db8::4/126 and 1 more)",
        )

    def test_empty_file_has_no_address(self) -> None:
        """As an allow list it must not accept everybody."""
        for text in ("", "# nothing yet\n"):
            self.write(text)
            self.assertNotIn("192.0.2.1", read_address_file(self.path))

    def test_broken_lines_are_reported_with_file_and_line(self) -> None:
        self.write("10.0.0.1\nexample.com # no name\n\n10.0.0.300\n")
        problems = self.assertRaises(InvalidAddressFile, read_address_file, self.path).problems
        rule = "must be an IP address, a CIDR or a range a-b"
        self.assertEqual(
            problems,
            [f'{self.path}:2: {rule} (got "example.com")', f'{self.path}:4: {rule} (got "10.0.0.300")'],
        )
        self.write("x\n" * 100)
        problems = self.assertRaises(InvalidAddressFile, read_address_file, self.path).problems
        self.assertEqual((len(problems), problems[-1]), (6, f"{self.path}: 95 more lines like these"))

    def test_file_that_cannot_be_read_is_reported(self) -> None:
        self.assertEqual(
            self.assertRaises(InvalidAddressFile, read_address_file, self.path).problems,
            [f"{self.path}: cannot be read: No such file or directory"],
        )
        self.write(b"10.0.0.1\n\xff\n")
        self.assertEqual(
            self.assertRaises(InvalidAddressFile, read_address_file, self.path).problems,
            [f"{self.path}:2: is not UTF-8"],
        )

    def test_lists_are_united(self) -> None:
        self.write("192.0.2.1\n")
        both = AddressLists([AddressSet(["10.0.0.0/8"]), read_address_file(self.path)])
        self.assertEqual([one in both for one in ("10.0.0.1", "192.0.2.1", "192.0.2.2")], [True, True, False])
        self.assertEqual(str(both), f"10.0.0.0/8, {self.path} (192.0.2.1)")


class WatchTests(FileTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.write("10.0.0.1\n")
        self.file = read_address_file(self.path)
        self.watch = AddressFileWatch(self.clock)
        self.watch.follow([self.file])
        self.watch.start()
        self.addCleanup(self.watch.stop)

    def changed(self, text: str | None) -> list[str]:
        if text is None:
            Path(self.path).unlink()
        else:
            self.write(text)
        return self.wait()

    def wait(self) -> list[str]:
        with capturedLogs() as logged:
            for _ in range(int(POLL_INTERVAL + 3 * SETTLE_TIME)):
                self.clock.advance(1)
        return [formatEvent(event) for event in logged]

    def test_change_is_applied_in_place(self) -> None:
        self.assertEqual(
            self.changed("10.0.0.2\n10.0.0.3\n"),
            [f"address list read again: {self.path} (10.0.0.2, 10.0.0.3)"],
        )
        self.assertEqual([one in self.file for one in ("10.0.0.1", "10.0.0.3")], [False, True])
        self.assertEqual(self.wait(), [])

    def test_broken_line_keeps_the_former_list_and_is_logged_once(self) -> None:
        rule = 'must be an IP address, a CIDR or a range a-b (got "oops")'
        kept = "address list not applied, the former one is kept"
        self.assertEqual(self.changed("10.0.0.2\noops\n"), [f"{kept}: {self.path}:2: {rule}"])
        self.assertIn("10.0.0.1", self.file)
        self.assertNotIn("10.0.0.2", self.file)
        self.assertEqual(self.wait(), [])
        self.assertEqual(len(self.changed("10.0.0.2\n")), 1)
        self.assertIn("10.0.0.2", self.file)

    def test_removed_file_keeps_the_list_and_an_emptied_one_empties_it(self) -> None:
        self.assertIn("cannot be read: No such file", self.changed(None)[0])
        self.assertIn("10.0.0.1", self.file)
        self.assertEqual(self.changed("# none\n"), [f"address list read again: {self.path} (empty)"])
        self.assertNotIn("10.0.0.1", self.file)

    def test_what_is_not_followed_any_more_is_not_read(self) -> None:
        self.watch.follow([])
        self.assertEqual(self.changed("10.0.0.2\n"), [])
        self.assertIn("10.0.0.1", self.file)
