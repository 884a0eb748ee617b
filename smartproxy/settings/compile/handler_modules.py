"""Imports the module of a handler, with the directory of the configuration file first on the path.

``handler: backends:echo`` finds ``backends.py`` beside the configuration, whatever the working directory is, as a script
finds the modules beside it. Unlike a script, one process may load several configurations from several directories, and
each gets its own ``backends``. So a module that comes from such a directory does not stay in ``sys.modules`` under a name
that another module has already: it is kept here, by directory.
"""

from __future__ import annotations

import importlib
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

#: Loaded modules of these names are never replaced by one beside the configuration: the rest of the process needs them.
_PROTECTED = sys.stdlib_module_names | {"smartproxy"}

#: The modules imported from each directory, by their names.
_imported: dict[Path, dict[str, ModuleType]] = {}
#: ``sys.path`` and ``sys.modules`` belong to the whole process, and a reload may compile in a thread. Reentrant: a
#: module may load a configuration while it is imported.
_lock = RLock()


def import_module_beside(directory: Path, name: str) -> ModuleType:
    """Import the module ``name``: from ``directory``, or else from ``sys.path``.

    :raises Exception: whatever the module raises while it runs; :class:`ImportError` where there is none.
    """
    directory = directory.resolve()
    with _lock:
        known = _imported.get(directory, {}).get(name)
        if known is not None:
            return known
        with _own_modules(directory), _first_on_the_path(directory):
            return importlib.import_module(name)


@contextmanager
def _first_on_the_path(directory: Path) -> Iterator[None]:
    importlib.invalidate_caches()  # the file may be newer than what Python knows of the directory
    sys.path.insert(0, str(directory))
    try:
        yield
    finally:
        with suppress(ValueError):  # the module may have changed the path itself
            sys.path.remove(str(directory))  # the first of them, which is ours


@contextmanager
def _own_modules(directory: Path) -> Iterator[None]:
    """During the import, hide modules that are not to be found from ``directory``; afterwards, put them back."""
    own = _imported.setdefault(directory, {})
    hidden = {name: module for name, module in sys.modules.copy().items() if _hides(directory, name, module)}
    before = sys.modules.keys() - hidden.keys()
    # What is imported from a directory that Python searches anyway is an ordinary module, shared by everybody.
    is_ordinary = str(directory) in sys.path
    for name in hidden:
        del sys.modules[name]
    sys.modules.update(own)
    try:
        yield
    finally:
        for name, module in sys.modules.copy().items():
            is_new = name not in before and _is_from(directory, name, module)
            if is_new and (name in hidden or not is_ordinary):
                own[name] = module
        _put_back(hidden, own)


def _put_back(hidden: dict[str, ModuleType], own: dict[str, ModuleType]) -> None:
    """Restore what was hidden. A submodule must not stay in ``sys.modules`` below a package that is not its own."""
    tops = {_top(name) for name in hidden}
    for name in own:
        if _top(name) in tops:
            sys.modules.pop(name, None)
    sys.modules.update(hidden)


def _hides(directory: Path, name: str, module: ModuleType) -> bool:
    """Whether ``module`` was imported for another directory, or would be found instead of one of ``directory``."""
    if any(other.get(name) is module for place, other in _imported.items() if place != directory):
        return True
    top = _top(name)
    return top not in _PROTECTED and _has(directory, top) and not _is_from(directory, name, module)


def _has(directory: Path, top: str) -> bool:
    return (directory / f"{top}.py").is_file() or (directory / top / "__init__.py").is_file()


def _is_from(directory: Path, name: str, module: ModuleType) -> bool:
    """Whether ``module`` is a module of ``directory``, or in a package of it; not merely somewhere below, as in a venv."""
    package = directory / _top(name)
    places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
    found = [Path(place).resolve() for place in places if place is not None]
    return any(place.parent == directory or place.is_relative_to(package) for place in found)


def _top(name: str) -> str:
    return name.partition(".")[0]
