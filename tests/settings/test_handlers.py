"""Handlers named by their module: where the module is looked for, and what a configuration is told when that fails."""

from __future__ import annotations

import sys
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import ConfigurationError
from smartproxy.serving.ready import echo
from smartproxy.settings import Action, Match, Route, Settings
from tests.settings.formats import as_json, folder, route

if TYPE_CHECKING:
    from types import ModuleType

#: No other module of the process has this name.
NAME = "backends_of_test_handlers"


class HandlerCase(SynchronousTestCase):
    """Directories with a configuration and modules; what they import is forgotten after the test."""

    def setUp(self) -> None:
        before = sys.modules.copy()
        self.addCleanup(self.restore, before)
        self.addCleanup(sys.path.__setitem__, slice(None), sys.path[:])

    def restore(self, modules: dict[str, ModuleType]) -> None:
        for name in sys.modules.keys() - modules.keys():
            del sys.modules[name]
        sys.modules.update(modules)

    def directory(self, **modules: str) -> Path:
        """A directory with these modules; two underscores in a name are a directory."""
        made = folder(self)
        for name, source in modules.items():
            file = made / f"{name.replace('__', '/')}.py"
            file.parent.mkdir(exist_ok=True)
            file.write_text(source, encoding="utf-8")
        return made

    def load(self, directory: Path, *references: str) -> Settings:
        routes = [
            route(f"r{i}", 80 + i, action={"type": "handler", "targets": [], "handler": reference})
            for i, reference in enumerate(references)
        ]
        file = directory / "proxy.json"
        file.write_text(as_json({"routes": routes}), encoding="utf-8")
        return Settings.load(file)

    def handlers(self, directory: Path, *references: str) -> list[Any]:
        return [one.handler for one in self.load(directory, *references).compile().routes]

    def answer(self, directory: Path, reference: str = f"{NAME}:handle") -> object:
        """What the handler returns; those of these tests need no connection."""
        [handler] = self.handlers(directory, reference)
        return handler(None)

    def problem(self, directory: Path, reference: str) -> str:
        raised = self.assertRaises(ConfigurationError, self.load, directory, reference)
        [problem] = raised.problems
        return problem


def returns(value: str) -> str:
    return f"def handle(_): return {value!r}\n"


class DirectoryTests(HandlerCase):
    def test_module_beside_file_is_found_from_any_cwd(self) -> None:
        here = self.directory(**{NAME: returns("here")})
        for elsewhere in (folder(self), Path("/")):
            with chdir(elsewhere):
                self.assertEqual(self.answer(here), "here")

    def test_relative_path_of_the_file_is_enough(self) -> None:
        here = self.directory(**{NAME: returns("here")})
        self.load(here, f"{NAME}:handle")
        with chdir(here):
            [made] = Settings.load("proxy.json").compile().routes
        self.assertEqual(made.handler(None), "here")

    def test_module_on_sys_path_does_not_win(self) -> None:
        for imported_before in (False, True):
            name = f"{NAME}_{imported_before}".lower()
            other, here = (
                self.directory(**{name: returns("other")}),
                self.directory(**{name: returns("here")}),
            )
            sys.path.insert(0, str(other))
            if imported_before:
                self.assertEqual(__import__(name).handle(None), "other")
            self.assertEqual(self.answer(here, f"{name}:handle"), "here")
            if imported_before:
                self.assertEqual(sys.modules[name].handle(None), "other", "the process keeps its own")

    def test_module_of_sys_path_is_found_after_the_directory(self) -> None:
        sys.path.insert(0, str(self.directory(**{NAME: returns("other")})))
        self.assertEqual(self.answer(self.directory()), "other")

    def test_each_directory_has_its_own_module(self) -> None:
        one, two = (self.directory(**{NAME: returns(text)}) for text in ("one", "two"))
        self.assertEqual([self.answer(place) for place in (one, two, one, two)], ["one", "two", "one", "two"])

    def test_helper_modules_are_those_of_the_same_directory(self) -> None:
        """A handler imports its neighbours by their names, as a script does."""
        source = f"import {NAME}_helper\ndef handle(_): return {NAME}_helper.TEXT\n"
        made = [
            self.directory(**{NAME: source, f"{NAME}_helper": f"TEXT = {text!r}\n"})
            for text in ("one", "two")
        ]
        self.assertEqual([self.answer(place) for place in made], ["one", "two"])

    def test_packages_and_namespace_packages_are_found(self) -> None:
        for regular in (True, False):
            top = f"{NAME}_package_{regular}".lower()
            for text in ("one", "two"):
                files = {f"{top}__web": returns(text)} | ({f"{top}____init__": ""} if regular else {})
                self.assertEqual(self.answer(self.directory(**files), f"{top}.web:handle"), text)

    def test_installed_modules_are_shared_by_all_directories(self) -> None:
        """Also where they are installed below the directory of a configuration, as in a venv of its project."""
        source = f"import {NAME}_installed\nhandle = {NAME}_installed.handle\n"
        one, two = self.directory(**{NAME: source}), self.directory(**{NAME: source})
        (one / "venv").mkdir()
        (one / "venv" / f"{NAME}_installed.py").write_text("def handle(_): pass\n", encoding="utf-8")
        sys.path.append(str(one / "venv"))
        made = [self.handlers(place, f"{NAME}:handle") for place in (one, two)]
        self.assertEqual(made[0], made[1])

    def test_a_module_is_imported_once(self) -> None:
        """A second look at the same file must not start what the module starts a second time."""
        here = self.directory(
            **{NAME: "OBJECT = object\nhandle = lambda _: OBJECT\nother = lambda _: OBJECT\n"}
        )
        first, second = self.handlers(here, f"{NAME}:handle", f"{NAME}:other")
        again = self.handlers(here, f"{NAME}:handle")[0]
        self.assertIs(first, again)
        self.assertIs(first.__globals__, second.__globals__)

    def test_sys_path_is_as_before(self) -> None:
        before = sys.path[:]
        self.answer(self.directory(**{NAME: returns("here")}))
        self.problem(self.directory(**{NAME: "1 / 0"}), f"{NAME}:handle")
        self.assertEqual(sys.path, before)

    def test_a_file_named_like_the_standard_library_replaces_nothing(self) -> None:
        """``json.py`` beside a configuration must not end up in Twisted, or in the proxy itself."""
        here = self.directory(json="raise AssertionError", smartproxy="raise AssertionError")
        self.assertEqual(self.handlers(here, "json:dumps", "smartproxy.serving.ready:echo")[1], echo)

    def test_lazily_imported_name_is_found(self) -> None:
        """``smartproxy`` imports its public names when they are first asked for."""
        self.assertEqual(self.handlers(self.directory(), "smartproxy:echo"), [echo])

    def test_settings_made_in_python_use_the_working_directory(self) -> None:
        action = Action(type="handler", handler=f"{NAME}:handle")
        settings = Settings(routes=[Route(name="a", match=Match(ports=80), action=action)])
        with chdir(self.directory(**{NAME: returns("here")})):
            self.assertEqual(settings.compile().routes[0].handler(None), "here")


class ProblemTests(HandlerCase):
    def test_the_message_names_the_directory_searched(self) -> None:
        here = self.directory()
        problem = self.problem(here, "no_such_module:handle")
        self.assertIn(
            "routes[0].action.handler: cannot be imported from "
            f"{here} or sys.path: ModuleNotFoundError: No module named 'no_such_module'",
            problem,
        )

    def test_a_name_that_the_module_lacks_is_named(self) -> None:
        problem = self.problem(self.directory(**{NAME: ""}), f"{NAME}:handle")
        self.assertIn(f"AttributeError: module '{NAME}' has no attribute 'handle'", problem)

    def test_a_module_that_raises_may_be_repaired_and_loaded(self) -> None:
        here = self.directory(**{NAME: "1 / 0"})
        self.assertIn("ZeroDivisionError: division by zero", self.problem(here, f"{NAME}:handle"))
        # The length differs: within one second, Python tells sources apart by their sizes only.
        (here / f"{NAME}.py").write_text(returns("repaired"), encoding="utf-8")
        self.assertEqual(self.answer(here), "repaired")

    def test_a_disabled_route_imports_nothing(self) -> None:
        off = {"type": "handler", "targets": [], "handler": "no_such_module:handle"}
        value = {"routes": [route(), route("off", 81, enabled=False, action=off)]}
        self.assertEqual(Settings.parse(as_json(value), "json").check(), [])
