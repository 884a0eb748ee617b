"""Paths of requests that no file may have, each asked of a directory that has something to find."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.http.local.file_names import file_name
from tests.http.local.case import LocalCase

HOSTILE = (
    "/../secret.txt", "/..", "/../", "/../../etc/passwd", "/a/../../secret.txt", "/a/../index.html", "/./index.html",
    "/.", "/a/.", "/a/..", "/a/./b.txt", "/%2e%2e/secret.txt", "/%2E%2E/secret.txt", "/.%2e/secret.txt", "/%2e./secret.txt",
    "/%2e", "/%2e%2e", "/%2e%2e%2fsecret.txt", "/..%2fsecret.txt", "/..%5csecret.txt", "/..\\secret.txt", "/\\..\\secret.txt",
    "/a%2fb.txt", "/a%2Fb.txt", "/a%5cb.txt", "/a\\b.txt", "/%2fetc/passwd", "//etc/passwd", "//index.html", "/a//b.txt", "/a/b.txt//",
    "///", "/index.html%00", "/index.html%00.png", "/%00", "/a%00/b.txt", "/index.html%0a", "/%0d%0aX:1", "/index.html%7f",
    "/.git/config", "/.env", "/a/.hidden", "/%2eenv", "/.git", "/.git/", "/..%00/", "/%c0%ae%c0%ae/secret.txt", "/%u002e%u002e/x",
    "/%", "/%2", "/%zz", "/index.html%", "/index%2", "/%25%32%65%25%32%65/secret.txt", "/%252e%252e/secret.txt", "/....//secret.txt",
    "/..;/secret.txt", "/index.html/", "/index.html/..", "/index.html/x", "/~root", "/C:/windows/win.ini", "/a/b.txt/.", "/::$DATA",
    "/proc/self/environ", "/link-out", "/link-out/passwd", "/link-up/secret.txt", "/link-file", "/loop", "/fifo", "/" + "a" * 300,
    "/" + "a/" * 2000, "/secret.txt", "/no-rights", "/socket",
)  # fmt: skip


class HostileTests(LocalCase):
    def setUp(self):
        super().setUp()
        top = Path(self.mktemp())
        root = top / "www"
        (root / "a").mkdir(parents=True)
        (root / ".git").mkdir()
        (root / ".git" / "config").write_text("SECRET")
        for name in (".env", "a/.hidden"):
            (root / name).write_text("SECRET")
        (top / "secret.txt").write_text("SECRET")
        (root / "index.html").write_text("index")
        (root / "a" / "b.txt").write_text("b")
        (root / "link-out").symlink_to("/etc")
        (root / "link-up").symlink_to("..")
        (root / "link-file").symlink_to(top.absolute() / "secret.txt")
        (root / "loop").symlink_to("loop")
        os.mkfifo(root / "fifo")
        self.local(type="static", root=str(root))

    def test_the_list_is_long_enough(self):
        self.assertGreater(len(set(HOSTILE)), 60)

    def test_no_hostile_path_has_a_file(self):
        for path in HOSTILE:
            answer = self.ask(path)
            self.assertEqual(answer.status, 404, path[:80])
            self.assertNotIn(b"SECRET", answer.whole, path)
            self.assertNotIn(b"root:", answer.whole, path)

    def test_hostile_paths_have_no_file_with_spa_either(self):
        for path in HOSTILE:
            self.assertNotIn(b"SECRET", self.ask(path, more="Accept: text/html\r\n").whole, path)

    def test_ordinary_paths_have_one(self):
        for path, body in [
            ("/", b"index"),
            ("/index.html", b"index"),
            ("/a/b.txt", b"b"),
            ("/%61/b%2etxt", b"b"),
        ]:
            self.assertEqual(self.ask(path).body, body, path)


class NameTests(SynchronousTestCase):
    @given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=60))
    def test_every_name_is_one_below_the_root(self, path):
        found = file_name("/" + path)
        for name in found.names if found is not None else ():
            self.assertTrue(name)
            self.assertFalse(name.startswith(b"."))
            self.assertNotIn(b"/", name)
            self.assertNotIn(b"\0", name)
