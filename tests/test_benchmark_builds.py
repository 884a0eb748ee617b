"""The builds of smartproxy that the benchmarks compare, and when the compiled one is made again."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import SimpleNamespace

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import connections, contestants, pythons
from benchmarks.contestants import Job
from benchmarks.http import contestants as http_contestants
from benchmarks.processes import BenchmarkError
from benchmarks.pythons import INTERPRETED, Build, CannotBuildError, digest_of, is_current
from benchmarks.scorecard import ROWS


def put(root, path, content=""):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    return file


def checkout(root):
    for name in (
        "setup.py",
        "setup.cfg",
        "pyproject.toml",
        "twisted/plugins/plugin.py",
        "smartproxy/wire/host.py",
    ):
        put(root, name, name)
    return root


class DigestTests(SynchronousTestCase):
    def setUp(self):
        self.root = checkout(Path(self.mktemp()))
        self.before = digest_of(self.root)

    def test_a_change_of_a_source_or_of_the_build_changes_it(self):
        for path in (
            "smartproxy/wire/host.py",
            "twisted/plugins/plugin.py",
            "setup.py",
            "setup.cfg",
            "pyproject.toml",
        ):
            content = (self.root / path).read_text()
            put(self.root, path, "changed")
            self.assertNotEqual(digest_of(self.root), self.before, path)
            put(self.root, path, content)
            self.assertEqual(digest_of(self.root), self.before, path)

    def test_a_new_module_and_a_renamed_one_change_it(self):
        """Even an empty module, and one with the same content under another name."""
        put(self.root, "smartproxy/new.py")
        with_new = digest_of(self.root)
        (self.root / "smartproxy/new.py").rename(self.root / "smartproxy/newer.py")
        self.assertEqual(len({self.before, with_new, digest_of(self.root)}), 3)

    def test_another_python_changes_it(self):
        """An extension module is of one version of Python."""
        self.patch(sys, "version", "4.0")
        self.assertNotEqual(digest_of(self.root), self.before)

    def test_what_is_not_built_does_not_change_it(self):
        for path in ("docs/page.rst", "tests/test_host.py", "smartproxy/wire/host.so", "benchmarks/tls.py"):
            put(self.root, path, "new")
        self.assertEqual(digest_of(self.root), self.before)

    def test_an_environment_is_current_only_with_the_same_digest(self):
        stored = self.root / "digest"
        self.assertFalse(is_current(stored, "one"))
        stored.write_text("one")
        self.assertTrue(is_current(stored, "one"))
        self.assertFalse(is_current(stored, "two"))


class CompiledTests(SynchronousTestCase):
    def setUp(self):
        self.root = checkout(Path(self.mktemp()).resolve())
        self.kind, self.made = "compiled", 0
        self.patch(pythons, "ROOT", self.root)
        self.patch(pythons, "_COMPILED", self.root / "env")
        self.patch(pythons, "_make_compiled", self.make)
        self.patch(pythons, "_site_packages", lambda python: Path(python).parent / "site")
        self.patch(pythons, "kind_of", lambda build: self.kind)
        self.patch(pythons, "_debian", lambda: "/debian/bin/python")
        self.patch(sys, "stderr", io.StringIO())

    def make(self, python):
        self.made += 1
        (self.root / "env").mkdir(exist_ok=True)

    def test_it_is_made_once_and_again_after_a_change(self):
        builds = [pythons._compiled(), pythons._compiled()]
        self.assertEqual((self.made, builds[0]), (1, builds[1]))
        self.assertEqual(builds[0].checkout, self.root / "env" / "bin" / "site")
        put(self.root, "smartproxy/wire/host.py", "changed")
        pythons._compiled()
        self.assertEqual(self.made, 2)

    def test_one_that_runs_the_sources_is_an_error_and_made_again(self):
        """Its figures would be those of the interpreted build under another name."""
        self.kind = "interpreted"
        for count in (1, 2):
            with self.assertRaisesRegex(BenchmarkError, "no compiled build"):
                pythons.others.__wrapped__()
            self.assertEqual(self.made, count)

    def test_both_builds_are_compared(self):
        builds = pythons.others.__wrapped__()
        self.assertEqual([*builds], ["debian", "compiled"])
        self.assertEqual([build.is_compiled for build in builds.values()], [False, True])

    def test_one_that_cannot_be_made_is_left_out_with_the_reason(self):
        def fails(python):
            raise CannotBuildError("gcc is not installed")

        self.patch(pythons, "_make_compiled", fails)
        self.assertEqual([*pythons.others.__wrapped__()], ["debian"])
        self.assertIn("compiled build: gcc is not installed", sys.stderr.getvalue())


class NeededTests(SynchronousTestCase):
    def test_a_missing_compiler_is_named_before_anything_is_made(self):
        self.patch(pythons, "_COMPILED", Path(self.mktemp()))
        self.patch(pythons.os, "environ", {**pythons.os.environ, "CC": "no-such-compiler -pipe"})
        with self.assertRaisesRegex(CannotBuildError, "^no-such-compiler is not installed$"):
            pythons._make_compiled(Path("unused"))


class VerificationTests(SynchronousTestCase):
    def setUp(self):
        self.site = Path(self.mktemp()).resolve()
        self.build = Build("python", self.site, is_compiled=True)

    def check(self, *mapped, build=None):
        process = SimpleNamespace(name="ours/compiled", mapped_files=lambda: set(map(Path, mapped)))
        pythons.check(process, build or self.build)

    def test_a_process_with_compiled_modules_of_its_build_passes(self):
        self.check("/lib/libc.so", self.site / "smartproxy/wire/host.cpython-311.so")

    def test_a_process_without_them_is_an_error(self):
        """Also with those of another directory, and with other extension modules of the environment."""
        for mapped in (
            [],
            ["/other/smartproxy/wire/host.so"],
            [self.site / "smartproxy/py.typed", self.site / "yaml/_yaml.so"],
        ):
            with self.assertRaisesRegex(BenchmarkError, "ours/compiled does not run the compiled build"):
                self.check(*mapped)

    def test_an_interpreted_build_needs_none(self):
        self.check(build=INTERPRETED)

    def test_a_build_is_called_as_its_version_says(self):
        for told, kind in (
            ("smartproxy 1.0 (pure)", "interpreted"),
            ("smartproxy 1.0 (compiled)", "compiled"),
        ):
            self.assertEqual(pythons.kind_of(self.saying(told)), kind)
        with self.assertRaisesRegex(BenchmarkError, "smartproxy --version: nothing"):
            pythons.kind_of(self.saying("nothing"))

    def saying(self, words):
        """A build whose ``twistd`` prints ``words``."""
        python = put(self.site, "python", f"#!/bin/sh\necho '{words}'\n")
        python.chmod(0o755)
        return Build(str(python), self.site)


class JobTests(SynchronousTestCase):
    def setUp(self):
        self.builds = {
            "debian": Build("/debian/bin/python"),
            "compiled": Build("/c/bin/python", Path("/c"), is_compiled=True),
        }
        self.patch(pythons, "others", lambda: self.builds)

    def test_a_job_for_each_build(self):
        job = Job(("127.0.0.1",), 1, accepts_header=True)
        made = contestants.in_builds("ours/header", job)
        self.assertEqual([*made], ["ours/header", "ours/header/debian", "ours/header/compiled"])
        self.assertEqual([each.build for each in made.values()], [INTERPRETED, *self.builds.values()])
        self.assertTrue(all(each.accepts_header for each in made.values()))

    def test_a_proxy_is_run_by_the_twistd_of_its_build(self):
        place = Path(self.mktemp())
        place.mkdir()
        job = Job(("127.0.0.1",), 1, build=self.builds["compiled"])
        command = contestants.smartproxy(job, 2, place)
        self.assertEqual(command[:2], ["/c/bin/python", "/c/bin/twistd"])
        web = http_contestants.HttpJob(("127.0.0.1", 1), ("127.0.0.1", 2), place / "tls.pem")
        command = http_contestants.smartproxy(http_contestants.in_builds(web)["ours/debian"], 2, 3, place)
        self.assertEqual(command[:2], ["/debian/bin/python", "/debian/bin/twistd"])

    def test_connections_have_every_entry_of_the_table(self):
        """A row whose entry has another name would be empty, without a warning."""
        named = {
            entry
            for row in ROWS
            if row.workload == "connections"
            for entry in (*row.columns.values(), row.to)
            if entry not in (None, "nginx")
        }
        self.assertEqual(named - set(connections._entries(1)), set())
