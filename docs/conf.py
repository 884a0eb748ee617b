"""Sphinx: ``make docs``. Warnings are errors there, so a broken reference does not get in."""

from importlib.metadata import version as installed

project = "smartproxy"
author = "smartproxy maintainers"
copyright = "2026, smartproxy maintainers"
version = release = installed("smartproxy")
extensions = ["sphinx.ext.autodoc"]
autodoc_member_order = "bysource"
# Annotations name private modules; docstrings give units and meaning.
autodoc_typehints = "none"
autodoc_preserve_defaults = True
# Docstrings of settings mark keys with single backticks: configuration.rst is rendered from them as well.
default_role = "code"
html_theme = "furo"
html_title = f"smartproxy {release}"
exclude_patterns = ["_build"]
# Pages are written for reading as they are, too: a plain ``::`` block is not highlighted.
highlight_language = "none"
