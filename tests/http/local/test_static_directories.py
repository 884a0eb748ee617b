"""Redirects of directories where the path of a request is rewritten: they are decided by the path that was received."""

from __future__ import annotations

from tests.http.local.test_static import StaticCase


class DirectoryTests(StaticCase):
    def steps(self, target):
        """The targets that a client is redirected to, and the last answer."""
        made = []
        for _ in range(4):
            answer = self.ask(target)
            if answer.status != 301:
                return made, answer
            target = answer.location
            made.append(target)
        raise AssertionError(f"still redirected: {made}")

    def test_the_root_behind_a_prefix_gets_its_slash(self):
        """Relative links of its page would lead to ``/`` instead of ``/static/``."""
        self.serve(rewrite={"strip_prefix": "/static"})
        for asked, where in (
            ("/static/sub", "/static/sub/"),
            ("/static", "/static/"),
            ("/static?x=1", "/static/?x=1"),
            ("http://a.example/static?x=1", "/static/?x=1"),
        ):
            moved, answer = self.steps(asked)
            self.assertEqual((moved, answer.status), ([where], 200), asked)
        for asked in ("/", "/static/", "/static/sub/", "/static/a.txt"):
            self.assertEqual(self.steps(asked)[0], [], asked)

    def test_so_does_the_root_of_an_application_of_one_page(self):
        self.serve(rewrite={"strip_prefix": "/app"}, spa=True)
        self.assertEqual(self.steps("/app")[0], ["/app/"])

    def test_the_redirect_of_a_new_path_ends(self):
        """It must not be made again and again: /x, /x/, /x//, ..."""
        for path in ("/sub", "/sub/", "/", "/v{path}/../sub", "/{host}"):
            self.serve(rewrite={"path": path})
            _, answer = self.steps("/x")
            self.assertIn(answer.status, {200, 400, 404}, path)

    def test_a_new_path_that_names_a_directory_is_that_directory(self):
        for path in ("/sub", "/sub/"):
            self.serve(rewrite={"path": path})
            moved, answer = self.steps("/x?y")
            self.assertEqual((moved, answer.status), (["/x/?y"], 200))
            self.assertEqual(answer.body, self.ask("/z/").body)

    def test_what_does_not_exist_is_not_redirected(self):
        """A 301 may be kept for ever."""
        self.serve(rewrite={"path": "/none/"})
        self.assertEqual(self.ask("/x").status, 404)

    def test_a_file_is_sent_whatever_was_received(self):
        self.serve(rewrite={"path": "/a.txt"})
        for asked in ("/", "/x", "/x/"):
            self.assertEqual(self.ask(asked).status, 200)
