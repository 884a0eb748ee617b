"""Which folders decide what a path refers to: a change in any of them must be noticed."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.files.states import identities, places, places_of


class PlaceTests(SynchronousTestCase):
    def setUp(self) -> None:
        made = TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.folder = Path(made.name).resolve()
        for name in ("links", "releases/1", "shared"):
            (self.folder / name).mkdir(parents=True)

    def places(self, path: str) -> list[str]:
        return [str(Path(one).relative_to(self.folder)) for one in places(str(self.folder / path))]

    def link(self, name: str, target: str) -> None:
        (self.folder / name).symlink_to(target)

    def test_folder_of_a_file_without_links(self) -> None:
        self.assertEqual(self.places("shared/a.pem"), ["shared"])

    def test_folder_of_every_link_on_the_way(self) -> None:
        self.link("links/current", "../releases/1")
        self.link("releases/1/a.pem", str(self.folder / "shared/a.pem"))
        self.assertEqual(self.places("links/current/a.pem"), ["links", "releases/1", "shared"])

    def test_link_to_nothing(self) -> None:
        self.link("links/a.pem", "../shared/none.pem")
        self.assertEqual(self.places("links/a.pem"), ["links", "shared"])

    def test_links_in_a_circle_end(self) -> None:
        self.link("links/a", "b")
        self.link("links/b", "a")
        self.assertLess(len(self.places("links/a")), 50)
        self.assertIn("links", self.places("links/a"))

    def test_folder_that_may_be_replaced_is_noticed_in_the_one_above(self) -> None:
        found = places_of([str(self.folder / "releases/1/a.pem")])
        self.assertEqual(found, {str(self.folder / "releases/1"), str(self.folder / "releases")})

    def test_folders_that_do_not_exist_have_no_identity(self) -> None:
        self.assertEqual(identities(["/no/such/folder"]), {})
