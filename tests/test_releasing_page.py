"""``docs/releasing.rst`` names files, targets and options that exist, and numbers its points."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "releasing.rst").read_text(encoding="utf-8")


class ReleasingPageTests(SynchronousTestCase):
    def test_points_are_numbered_through_all_sections(self) -> None:
        numbers = [int(number) for number in re.findall(r"^(\d+)\. ", PAGE, re.MULTILINE)]
        self.assertEqual(numbers, list(range(1, len(numbers) + 1)))

    def test_named_files_exist(self) -> None:
        named = set(re.findall(r"\b(?:docs|tap|\.ci)/[\w./-]*\w", PAGE)) | set(
            re.findall(r"\b\w+\.(?:rst|cfg)\b", PAGE)
        )
        self.assertGreater(len(named), 5)
        self.assertEqual([path for path in sorted(named) if not (ROOT / path).exists()], [])

    def test_whatever_has_the_version_is_on_the_list(self) -> None:
        """A file with the version in it that the list forgets would be wrong in the release."""
        version = re.search(r"^version = (.+)$", (ROOT / "setup.cfg").read_text(), re.MULTILINE)
        assert version is not None
        for page in (ROOT / "docs" / "man").iterdir():
            self.assertIn(f"smartproxy {version[1]}", page.read_text())
        self.assertIn("docs/make_man.py", PAGE)
