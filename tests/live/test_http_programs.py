"""HTTP through the proxy by the programs that people use: load generators, git, pip."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from unittest import SkipTest

from tests.live.case import LiveCase
from tests.live.nginx import nginx
from tests.live.programs import needed, run
from tests.live.waiting import until
from tests.live.web import Cgi, Pages, before, serving

_GIT_BACKEND = Path("/usr/lib/git-core/git-http-backend")


class LoadTests(LiveCase):
    """Each answer is whole and of status 200, and each request is counted."""

    def started(self):
        upstream = self.port()
        nginx(self, upstream, f"listen 127.0.0.1:{upstream}", "location / { return 200 ok; }")
        return before(self, {"host": "127.0.0.1", "port": upstream})

    def requests(self, proxy):
        lines = proxy.ask("/metrics")[1].decode().splitlines()
        return sum(
            int(float(line.rpartition(" ")[2]))
            for line in lines
            if line.startswith("smartproxy_http_requests_total{") and 'code="200"' in line
        )

    def test_wrk(self):
        program = needed("wrk")
        port, proxy = self.started()
        told = run(program, "-t1", "-c16", "-d2s", f"http://127.0.0.1:{port}/").stdout
        self.assertNotIn("Socket errors", told)
        self.assertNotIn("Non-2xx", told)
        done = int(re.search(r"([0-9]+) requests in", told)[1])
        self.assertGreater(done, 100)
        proxy.emptied()
        self.assertGreaterEqual(self.requests(proxy), done)

    def test_hey(self):
        program = needed("hey")
        port, proxy = self.started()
        for words in ([], ["-disable-keepalive"], ["-m", "POST", "-d", "x" * 5000]):
            told = run(program, "-n", "400", "-c", "8", *words, f"http://127.0.0.1:{port}/").stdout
            self.assertRegex(told, r"\[200\]\s+400 responses")
            self.assertNotIn("Error distribution", told)
        proxy.emptied()
        self.assertEqual(self.requests(proxy), 1200)


class GitTests(LiveCase):
    def git(self, *words, cwd=None):
        identity = ["-c", "user.name=a", "-c", "user.email=a@a.test", "-c", "init.defaultBranch=main"]
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_TERMINAL_PROMPT": "0"}
        done = run(needed("git"), *identity, *words, cwd=cwd or self.directory, env=environment)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def test_clone_and_push(self):
        """A push of more than a megabyte is sent in chunks, behind a request that probes for authentication."""
        needed("git")
        if not _GIT_BACKEND.exists():
            raise SkipTest(f"{_GIT_BACKEND} is not installed")
        served = self.directory / "served"
        served.mkdir()
        self.git("init", "--bare", served / "one.git")
        self.git("config", "http.receivepack", "true", cwd=served / "one.git")

        variables = {"GIT_PROJECT_ROOT": str(served), "GIT_HTTP_EXPORT_ALL": "1"}
        program = type("GitHttp", (Cgi,), {"program": str(_GIT_BACKEND), "environment": variables})
        port, proxy = before(self, serving(self, program))
        url = f"http://127.0.0.1:{port}/one.git"
        self.git("clone", url, "first")
        first = self.directory / "first"
        (first / "big").write_bytes(os.urandom(3_000_000))
        self.git("add", "big", cwd=first)
        self.git("commit", "-m", "one", cwd=first)
        self.git("push", "origin", "HEAD:main", cwd=first)
        self.git("clone", "--branch", "main", url, "second")
        self.assertEqual((self.directory / "second" / "big").read_bytes(), (first / "big").read_bytes())
        self.assertEqual(
            self.git("rev-parse", "HEAD", cwd=first),
            self.git("rev-parse", "HEAD", cwd=self.directory / "second"),
        )
        proxy.emptied()
        until(lambda: min(proxy.moved) > 3_000_000, "the bytes counted")


class PipTests(LiveCase):
    def test_install(self):
        """pip asks for a range of the wheel first, and for its hash."""
        www = self.directory / "www"
        wheel = self.wheel(www)
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        (www / "simple" / "demo" / "index.html").write_text(
            f'<a href="../../{wheel.name}#sha256={digest}">{wheel.name}</a>'
        )
        upstream = self.port()
        nginx(
            self,
            upstream,
            f"listen 127.0.0.1:{upstream}",
            f"root {www}",
            "index index.html",
            "types { text/html html; }",
        )
        port, _ = before(self, {"host": "127.0.0.1", "port": upstream})
        place = self.directory / "installed"
        pip = [
            sys.executable,
            "-m",
            "pip",
            "--isolated",
            "--disable-pip-version-check",
            "--no-cache-dir",
            "--no-input",
        ]
        index = ["--index-url", f"http://127.0.0.1:{port}/simple/", "--no-deps"]
        for words in (["install", "--target", place], ["download", "--dest", self.directory / "down"]):
            done = run(
                *pip, *words, *index, "demo", env={**os.environ, "PIP_CONFIG_FILE": os.devnull}, within=120
            )
            if "No module named pip" in done.stderr:
                raise SkipTest("pip is not installed in this environment")
            self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual((place / "demo.py").read_text(), "value = 1\n")
        self.assertEqual((self.directory / "down" / wheel.name).read_bytes(), wheel.read_bytes())

    def wheel(self, www):
        (www / "simple" / "demo").mkdir(parents=True)
        path = www / "demo-1.0-py3-none-any.whl"
        files = {
            "demo.py": "value = 1\n",
            "demo-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n",
            "demo-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: a\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        record = ""
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in files.items():
                archive.writestr(name, text)
                digest = (
                    base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
                )
                record += f"{name},sha256={digest},{len(text)}\n"
            archive.writestr("demo-1.0.dist-info/RECORD", f"{record}demo-1.0.dist-info/RECORD,,\n")
        return path


class CurlTests(LiveCase):
    def test_ranges_and_conditions_are_the_targets(self):
        program = needed("curl")

        class Ranges(Pages):
            def page(self):
                if self.headers.get("If-None-Match") == '"a"':
                    return 304, "text/plain", b""
                asked = self.headers.get("Range")
                return (206, "text/plain", b"cd") if asked == "bytes=2-3" else (200, "text/plain", b"abcdef")

        port, _ = before(self, serving(self, Ranges))
        url = f"http://127.0.0.1:{port}/"
        shown = ["-sS", "-o", "-", "-w", " %{http_code} %{num_connects}"]
        for words, expected in [
            (["-r", "2-3"], "cd 206 1"),
            (["-H", 'If-None-Match: "a"'], " 304 1"),
            (["--http1.0"], "abcdef 200 1"),
            (["-H", "Expect: 100-continue", "-d", "x"], "abcdef 200 1"),
        ]:
            done = subprocess.run([program, *shown, *words, url], capture_output=True, text=True, check=True)
            self.assertEqual(done.stdout, expected)
