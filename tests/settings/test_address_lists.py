"""Address lists of a configuration that are in files."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import ConfigurationError
from smartproxy.settings import Settings
from tests.settings.formats import FORMATS, folder, route


class AddressListTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = folder(self)
        self.write("10.0.0.0/8\n")

    def write(self, text: str, name: str = "list.txt") -> None:
        (self.folder / name).write_text(text)

    def load(self, value: dict[str, Any], format_: str = "json") -> Settings:
        path = self.folder / f"proxy.{format_}"
        path.write_text(FORMATS[format_](value))
        return Settings.load(path)

    def refused(self, value: dict[str, Any]) -> list[str]:
        problems = self.assertRaises(ConfigurationError, self.load, value).problems
        return [problem.partition(": ")[2].replace(f"{self.folder}/", "") for problem in problems]

    def test_every_address_list_takes_files_in_every_format(self) -> None:
        value = {
            "proxyIPs": "file:list.txt",
            "defaults": {"security": {"ipBlockList": ["192.0.2.1", "file:list.txt"]}},
            "routes": [
                route(match={"clientIp": ["file:list.txt"]}, security={"ipAllowList": ["file:list.txt"]}),
                route("other", 81),
            ],
        }
        for format_ in FORMATS:
            plan = self.load(value, format_).compile()
            first, second = plan.routes
            for addresses in (plan.trusted, first.match.client_ip, first.allow, first.block, second.block):
                self.assertIn("10.1.1.1", addresses)
                self.assertNotIn("192.0.2.7", addresses)
            self.assertIn("192.0.2.1", first.block)
            self.assertEqual([file.path for file in plan.address_files], [str(self.folder / "list.txt")])

    def test_problem_names_key_file_and_line(self) -> None:
        self.write("# none\n10.0.0.1\noops\n")
        value = {"routes": [route(security={"ipBlockList": ["file:list.txt", "file:none.txt"]})]}
        self.assertEqual(
            self.refused(value),
            [
                'routes[0].security.ipBlockList[0]: list.txt:3: must be an IP address, a CIDR or a range a-b (got "oops")',
                "routes[0].security.ipBlockList[1]: none.txt: cannot be read: No such file or directory",
            ],
        )
        self.assertIn("file:PATH", self.refused({"routes": [route()], "proxyIPs": "file:"})[0])
        self.load({"routes": [route(), route("off", 81, enabled=False, match={"clientIp": "file:none.txt"})]})

    def test_empty_allow_list_accepts_nobody_and_is_a_warning(self) -> None:
        self.write("# to be filled\n")
        settings = self.load({"routes": [route(security={"ipAllowList": "file:list.txt"})]})
        (plan,) = settings.compile().routes
        self.assertIsNotNone(plan.allow)
        self.assertNotIn("10.0.0.1", plan.allow)
        self.assertIn("list.txt has no address: an empty allow list accepts nobody", settings.warnings()[0])

    def test_reload_reads_again_and_a_broken_file_is_refused(self) -> None:
        settings = self.load({"routes": [route(security={"ipBlockList": "file:list.txt"})]})
        self.write("192.0.2.0/24\n")
        self.assertIn("192.0.2.1", settings.again().compile().routes[0].block)
        self.write("oops\n")
        self.assertIn("list.txt:1: ", self.assertRaises(ConfigurationError, settings.again).problems[0])

    def test_what_is_in_force_keeps_its_list_where_the_file_is_broken(self) -> None:
        """The same configuration is compiled again when an authority has changed, or routes are set by the API."""
        settings = self.load({"routes": [route(security={"ipBlockList": "file:list.txt"})]})
        plan = settings.compile()
        self.write("192.0.2.0/24\n")
        plan.address_files[0].current = settings.compile().routes[0].block.current
        self.write("oops\n")
        self.assertIn("192.0.2.1", settings.compile().routes[0].block)
        changed = settings.with_routes([route("new", security={"ipBlockList": ["file:list.txt"]})])
        self.assertIn("192.0.2.1", changed.compile().routes[0].block)

    def test_file_covers_only_the_same_file(self) -> None:
        self.write("10.0.0.0/8\n", "other.txt")
        wide = route("wide", match={"clientIp": ["file:list.txt", "192.0.2.1"]})
        for entries, covered in (
            (["file:list.txt"], True),
            (["file:other.txt"], False),
            (["10.0.0.1"], False),
        ):
            value = {"routes": [wide | {"priority": 1}, route("narrow", match={"clientIp": entries})]}
            if covered:
                self.assertIn('goes to "wide"', self.refused(value)[0])
            else:
                self.load(value)
