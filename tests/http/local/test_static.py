"""Files: what a request for one is answered with, and that their descriptors are closed whatever happens."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from unittest import mock

from smartproxy.flow.work_budget import WorkBudget
from smartproxy.testing import MemoryNetwork, Nature
from tests.http.local.case import Answer, LocalCase, local_route, request

#: 2026-01-02T03:04:05Z, and half a second.
_MODIFIED = 1_767_323_045_500_000_000
_DATE = "Fri, 02 Jan 2026 03:04:05 GMT"
_EARLIER = "Fri, 02 Jan 2026 03:04:04 GMT"
_OBSOLETE = "Friday, 02-Jan-26 03:04:05 GMT"
FILES = {
    "index.html": "home",
    "a.txt": "0123456789",
    "sub/index.html": "sub",
    "empty/x.txt": "",
    "page.html": "page",
}


def open_files(root):
    """The descriptors of this process that are below ``root``."""
    inside = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            inside.append(str(entry.readlink()))
    return [target for target in inside if target.startswith(str(Path(root).absolute()))]


class StaticCase(LocalCase):
    def setUp(self):
        super().setUp()
        self.root = Path(self.mktemp())
        for name, content in FILES.items():
            self.put(name, content.encode())
        self.serve()

    def put(self, name, content):
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        os.utime(file, ns=(_MODIFIED, _MODIFIED))

    def serve(self, **action):
        self.local(type="static", root=str(self.root), **action)

    def tearDown(self):
        self.assertEqual(open_files(self.root), [])
        super().tearDown()


class FileTests(StaticCase):
    def test_a_file_is_sent_with_its_type_and_validators(self):
        client = self.connect(81)
        for _ in range(2):
            self.assertEqual(
                self.ask("/a.txt", client=client).whole,
                b'HTTP/1.1 200 OK\r\nETag: "1886d02dcd8b3d00-a"\r\nLast-Modified: Fri, 02 Jan 2026 03:04:05 GMT\r\n'
                b"Vary: Accept-Encoding\r\nContent-Type: text/plain; charset=utf-8\r\nAccept-Ranges: bytes\r\n"
                b"Content-Length: 10\r\n\r\n0123456789".replace(b"1886d02dcd8b3d00", b"%x" % _MODIFIED),
            )
        self.assertFalse(client.ended)

    def test_head_is_the_same_without_the_body(self):
        got, head = self.ask("/a.txt"), self.ask("/a.txt", method="HEAD")
        self.assertEqual(got.fields.keys(), head.fields.keys())
        self.assertEqual((head.content_length, head.body), ("10", b""))

    def test_types_go_by_the_extension(self):
        for name, kind in [
            ("a.css", "text/css; charset=utf-8"), ("a.JS", "text/javascript; charset=utf-8"), ("a.json", "application/json"),
            ("a.svg", "image/svg+xml; charset=utf-8"), ("a.woff2", "font/woff2"), ("a.tar.gz", "application/gzip"),
            ("a.wasm", "application/wasm"), ("a", "application/octet-stream"), ("a.xyz", "application/octet-stream"),
        ]:  # fmt: skip
            self.put(name, b"x")
            self.assertEqual(self.ask("/" + name).content_type, kind, name)

    def test_other_methods_are_405(self):
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"):
            client = self.connect(81)
            answer = self.ask("/a.txt", method=method, client=client)
            self.assertEqual(
                (answer.status, answer.allow, answer.connection), (405, "GET, HEAD", None), method
            )
            self.assertEqual(self.ask("/a.txt", client=client).status, 200)

    def test_a_404_keeps_the_connection(self):
        client = self.connect(81)
        for _ in range(2):
            self.assertEqual(self.ask("/none", client=client).status, 404)
        self.assertFalse(client.ended)

    def test_an_empty_file_is_sent(self):
        self.assertEqual(
            (self.ask("/empty/x.txt").status, self.ask("/empty/x.txt").content_length), (200, "0")
        )

    def test_a_directory_has_its_index_and_no_listing(self):
        self.assertEqual(self.ask("/").body, b"home")
        self.assertEqual(self.ask("/sub/").body, b"sub")
        self.assertEqual(self.ask("/empty/").status, 404)
        self.serve(index=["nothing.html", "page.html"])
        self.assertEqual(self.ask("/").body, b"page")
        self.serve(index=[])
        self.assertEqual(self.ask("/").status, 404)

    def test_a_directory_without_slash_is_redirected(self):
        answer = self.ask("/sub?a=b")
        self.assertEqual((answer.status, answer.location), (301, "/sub/?a=b"))

    def test_names_of_any_characters_are_found(self):
        self.put("ä b%.txt", b"found")
        self.assertEqual(self.ask("/%C3%A4%20b%25.txt").body, b"found")

    def test_links_within_the_root_are_followed(self):
        (self.root / "link.txt").symlink_to("a.txt")
        (self.root / "abs").symlink_to((self.root / "sub").absolute())
        self.assertEqual(self.ask("/link.txt").body, b"0123456789")
        self.assertEqual(self.ask("/abs/").body, b"sub")

    def test_a_root_may_be_a_link_that_is_switched(self):
        link = Path(self.mktemp())
        link.symlink_to(self.root.absolute())
        self.local(type="static", root=str(link))
        self.assertEqual(self.ask("/").body, b"home")
        other = self.root / "sub"
        link.unlink()
        link.symlink_to(other.absolute())
        self.assertEqual(self.ask("/").body, b"sub")

    def test_a_root_that_vanishes_is_a_503(self):
        self.root.rename(str(self.root) + "-gone")
        answer = self.ask("/")
        self.assertEqual(answer.status, 503)
        self.assertNotIn(b"gone", answer.whole)
        self.assertNotIn(str(self.root).encode(), answer.whole)

    def test_an_application_of_one_page_gets_its_index_for_pages_only(self):
        self.serve(spa=True)
        html = "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n"
        answer = self.ask("/users/7", more=html)
        self.assertEqual((answer.status, answer.body, answer.vary), (200, b"home", "Accept, Accept-Encoding"))
        self.assertEqual(self.ask("/sub/none/", more=html).body, b"home")
        self.assertEqual(self.ask("/a.txt", more=html).body, b"0123456789")
        for accept in ("", "Accept: */*\r\n", "Accept: application/json\r\n", "Accept: text/html;q=0\r\n"):
            self.assertEqual(self.ask("/users/7", more=accept).status, 404, accept)
        self.assertEqual(self.ask("/.env", more=html).status, 404)


class RuleTests(StaticCase):
    def test_a_prefix_may_be_removed(self):
        self.serve(rewrite={"strip_prefix": "/assets"})
        self.assertEqual(self.ask("/assets/a.txt").body, b"0123456789")
        self.assertEqual(self.ask("/assets/sub").location, "/assets/sub/")
        self.assertEqual(self.ask("/assets/../a.txt").status, 400)

    def test_headers_may_be_added(self):
        self.serve(headers={"response": {"set": {"Cache-Control": "max-age=60"}}})
        for more in ("", "If-None-Match: *\r\n", "Range: bytes=0-1\r\n"):
            self.assertEqual(self.ask("/a.txt", more=more).cache_control, "max-age=60", more)
        self.assertEqual(self.ask("/none").cache_control, "max-age=60")

    def test_no_directory_leads_to_another_host(self):
        """The path of a rewritten request may begin like a reference to one."""
        self.serve(rewrite={"path": "/sub"})
        self.assertEqual(self.ask("//evil.example").location, "/evil.example/")


class ConditionTests(StaticCase):
    def status(self, more, method="GET", path="/a.txt"):
        answer = self.ask(path, method=method, more=more)
        if answer.status == 304:
            self.assertEqual((answer.body, answer.content_length), (b"", None))
            self.assertEqual(answer.etag, self.tag)
        return answer.status

    @property
    def tag(self):
        return f'"{_MODIFIED:x}-a"'

    def test_each_condition_and_their_order(self):
        tag = self.tag
        for more, status in [
            (f"If-None-Match: {tag}\r\n", 304),
            (f"If-None-Match: W/{tag}\r\n", 304),
            (f'If-None-Match: "x", {tag}\r\n', 304),
            (f'If-None-Match: "x"\r\nIf-None-Match: {tag}\r\n', 304),
            ("If-None-Match: *\r\n", 304),
            ('If-None-Match: "x"\r\n', 200),
            (f"If-Modified-Since: {_DATE}\r\n", 304),
            (f"If-Modified-Since: {_EARLIER}\r\n", 200),
            (f"If-Modified-Since: {_OBSOLETE}\r\n", 304),
            ("If-Modified-Since: yesterday\r\n", 200),
            ("If-Modified-Since: Fri, 99 Jan 2026 03:04:05 GMT\r\n", 200),
            ("If-Modified-Since: Fri, 31 Feb 2026 03:04:05 GMT\r\n", 200),
            (f'If-None-Match: "x"\r\nIf-Modified-Since: {_DATE}\r\n', 200),
            (f"If-Match: {tag}\r\n", 200),
            ("If-Match: *\r\n", 200),
            ('If-Match: "x"\r\n', 412),
            (f"If-Match: W/{tag}\r\n", 412),
            (f"If-Unmodified-Since: {_DATE}\r\n", 200),
            (f"If-Unmodified-Since: {_EARLIER}\r\n", 412),
            (f"If-Match: {tag}\r\nIf-Unmodified-Since: {_EARLIER}\r\n", 200),
            (f"If-Match: {tag}\r\nIf-None-Match: {tag}\r\n", 304),
            (f'If-Match: "x"\r\nIf-None-Match: {tag}\r\n', 412),
            (f"If-Unmodified-Since: {_EARLIER}\r\nIf-Modified-Since: {_DATE}\r\n", 412),
        ]:
            for method in ("GET", "HEAD"):
                self.assertEqual(self.status(more, method), status, more)

    def test_a_304_keeps_the_connection(self):
        client = self.connect(81)
        for _ in range(2):
            self.assertEqual(self.ask("/a.txt", more="If-None-Match: *\r\n", client=client).status, 304)
        self.assertFalse(client.ended)

    def test_a_condition_on_a_file_that_does_not_exist_is_a_404(self):
        self.assertEqual(self.status("If-None-Match: *\r\n", path="/none"), 404)


class RangeTests(StaticCase):
    def ranged(self, value, more="", method="GET"):
        answer = self.ask("/a.txt", method=method, more=f"Range: {value}\r\n{more}")
        return answer.status, answer.content_range, answer.body

    def test_one_range_is_sent(self):
        for value, start, end in [
            ("bytes=0-3", 0, 3), ("bytes=2-", 2, 9), ("bytes=-3", 7, 9), ("bytes=-100", 0, 9), ("bytes=0-", 0, 9),
            ("bytes=9-9", 9, 9), ("bytes=5-1000000000000000000", 5, 9), ("BYTES=1-1", 1, 1), ("bytes= 1-2", 1, 2),
            ("bytes=20-30,1-2", 1, 2), ("bytes=1-2,", 1, 2),
        ]:  # fmt: skip
            body = b"0123456789"[start : end + 1]
            self.assertEqual(self.ranged(value), (206, f"bytes {start}-{end}/10", body), value)

    def test_several_ranges_and_malformed_ones_get_the_file(self):
        whole = (200, None, b"0123456789")
        for value in (
            "bytes=0-1,3-4", "bytes=0-0,0-0,0-0", "bytes=", "bytes=a-b", "bytes=3-2", "lines=1-2", "bytes=1", "bytes", "bytes=--1",
            "bytes=1-2-3", "bytes=99999999999999999999999-", "bytes=0-1\r\nRange: bytes=2-3", "bytes=-",
        ):  # fmt: skip
            self.assertEqual(self.ranged(value), whole, value)

    def test_over_100_ranges_get_the_file(self):
        """None of them is looked at; RFC 9110, 14.2 permits to ignore them."""
        others = ",99-"
        self.assertEqual(self.ranged(f"bytes=0-1{others * 99}")[0], 206)
        self.assertEqual(self.ranged(f"bytes=0-1{others * 100}"), (200, None, self.ranged("bytes=x")[2]))

    def test_ranges_outside_are_416(self):
        for value in ("bytes=10-", "bytes=100-200", "bytes=-0", "bytes=10-,20-"):
            self.assertEqual(self.ranged(value)[:2], (416, "bytes */10"), value)

    def test_an_empty_file_has_no_ranges(self):
        """Players ask for ``bytes=0-``. ``bytes=-1`` exists even in it (RFC 9110, 14.1.2), but no Content-Range can say so."""
        for value in ("bytes=0-", "bytes=-1", "bytes=5-"):
            answer = self.ask("/empty/x.txt", more=f"Range: {value}\r\n")
            self.assertEqual((answer.status, answer.content_length), (200, "0"), value)

    def test_if_range_names_the_file(self):
        tag, whole = f'"{_MODIFIED:x}-a"', (200, None, b"0123456789")
        part = (206, "bytes 0-1/10", b"01")
        for more, expected in [
            (tag, part), (_DATE, part), (f"W/{tag}", whole), ('"x"', whole), (_EARLIER, whole), ("x", whole),
        ]:  # fmt: skip
            self.assertEqual(self.ranged("bytes=0-1", f"If-Range: {more}\r\n"), expected, more)

    def test_head_has_no_ranges(self):
        self.assertEqual(self.ranged("bytes=0-1", method="HEAD"), (200, None, b""))


class CompressedTests(StaticCase):
    def setUp(self):
        super().setUp()
        for ending in ("br", "zst", "gz"):
            self.put(f"page.html.{ending}", ending.encode())

    def coded(self, accepted, path="/page.html"):
        answer = self.ask(path, more=f"Accept-Encoding: {accepted}\r\n" if accepted else "")
        self.assertEqual((answer.vary, answer.content_type), ("Accept-Encoding", "text/html; charset=utf-8"))
        return answer.content_encoding, answer.body

    def test_the_coding_that_the_client_likes_best_is_sent(self):
        plain = None, b"page"
        br, zstd, gzip = ("br", b"br"), ("zstd", b"zst"), ("gzip", b"gz")
        for accepted, expected in [
            ("", plain), ("gzip", gzip), ("gzip, deflate, br, zstd", br), ("gzip, zstd", zstd), ("x-gzip", gzip),
            ("br;q=0.5, gzip;q=0.9", gzip), ("br;q=0, gzip", gzip), ("*", br), ("*;q=0", plain), ("br;q=0, *", zstd),
            ("identity", plain), ("identity, gzip;q=0.5", plain), ("identity;q=0, gzip", gzip), ("GZIP", gzip), ("deflate", plain),
            ("gzip;q=2", plain), ("gzip;q=x", plain), ("gzip ; q=1.000", gzip), (",,gzip", gzip), ("gzip;q=0.000", plain),
        ]:  # fmt: skip
            self.assertEqual(self.coded(accepted), expected, accepted)

    def test_an_index_is_sent_compressed(self):
        self.put("index.html.gz", b"gz")
        self.assertEqual(self.coded("gzip", "/"), ("gzip", b"gz"))

    def test_each_coding_has_a_tag_of_its_own(self):
        tags = {
            self.ask("/page.html", more=f"Accept-Encoding: {one}\r\n").etag
            for one in ("br", "gzip", "identity")
        }
        self.assertEqual(len(tags), 3)

    def test_a_sibling_outside_of_the_root_is_not_sent(self):
        (self.root / "a.txt.gz").symlink_to("/etc/passwd")
        answer = self.ask("/a.txt", more="Accept-Encoding: gzip\r\n")
        self.assertEqual((answer.content_encoding, answer.body), (None, b"0123456789"))

    def test_it_can_be_turned_off(self):
        self.serve(precompressed=False)
        answer = self.ask("/page.html", more="Accept-Encoding: gzip\r\n")
        self.assertEqual((answer.content_encoding, answer.vary, answer.body), (None, None, b"page"))


class TurnTests(StaticCase):
    def test_file_is_read_on_in_its_turn(self):
        """Two hundred clients that read fast would take a fifth of a second of one iteration otherwise, with TLS."""
        turns, content = [], os.urandom(1_500_000)
        self.patch(WorkBudget, "call_soon", lambda _, call: turns.append(call))
        self.serve()
        self.patch(os, "preadv", mock.Mock(side_effect=BlockingIOError))
        self.put("big", content)
        client = self.connect(81, request("/big"))
        self.assertEqual(len(turns), 1)
        while turns:
            turns.pop()()
            self.network.run(1)
        self.assertEqual(Answer(bytes(client.received)).body, content)


class BackPressureTests(StaticCase):
    """A client that does not read: the file is not read either."""

    def setUp(self):
        super().setUp()
        self.network.stop(self.proxy)
        self.network = MemoryNetwork(Nature(window=50_000))
        self.backend = self.network.backend("10.0.0.5", 9000)
        self.big = os.urandom(1_500_000)
        self.put("big", self.big)
        self.start(local_route(type="static", root=str(self.root)))

    def test_a_large_file_arrives_whole(self):
        client = self.connect(81, request("/big"))
        self.network.run(1)
        self.assertEqual(Answer(bytes(client.received)).body, self.big)

    def test_a_client_that_stops_reading_holds_little(self):
        client = self.connect(81)
        client.reading = False
        client.write(request("/big"))
        self.network.settle()
        (record,) = self.proxy.connections
        self.assertLess(record.bytes_sent, 700_000)
        self.assertEqual(len(open_files(self.root)), 1)
        client.reading = True
        self.network.run(1)
        self.assertEqual(Answer(bytes(client.received)).body, self.big)

    def test_a_client_that_leaves_closes_the_file(self):
        client = self.connect(81)
        client.reading = False
        client.write(request("/big"))
        self.network.settle()
        client.rst()
        self.network.settle()
        self.assertEqual(open_files(self.root), [])

    def test_a_file_that_shrinks_cuts_the_connection(self):
        """Its length was announced: anything else sent in its place would be a part of the answer."""
        client = self.connect(81)
        client.reading = False
        client.write(request("/big"))
        self.network.settle()
        os.truncate(self.root / "big", 600_000)
        client.reading = True
        self.network.run(1)
        self.assertTrue(client.was_reset)
        self.assertLess(len(client.received), len(self.big))
