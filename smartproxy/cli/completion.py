"""Completion in bash, for command lines with colons.

bash takes a colon for the end of a word (``COMP_WORDBREAKS``), so it passes ``127.0.0.1:9000`` on as three words, and click
would complete the wrong argument after it. Names of targets and addresses of admin listeners have colons. Therefore the
line itself is passed on, up to the cursor, and divided here.
"""

from __future__ import annotations

import os
from typing import Final

from click.shell_completion import BashComplete, add_completion_class, split_arg_string

_LINE: Final = "_SMARTPROXY_LINE"
_WORDS: Final = "COMP_CWORD=$COMP_CWORD"


class WholeWords(BashComplete):
    """Completes by the line in place of bash's words."""

    source_template = BashComplete.source_template.replace(
        _WORDS, f'{_WORDS} {_LINE}="${{COMP_LINE:0:COMP_POINT}}"'
    )

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the one that is completed, and that one."""
        line = os.environ.get(_LINE)
        if line is None:  # a script that an earlier version has written
            return super().get_completion_args()
        words = split_arg_string(line)
        incomplete = "" if line[-1:].isspace() else words.pop()
        return words[1:], incomplete


def register() -> None:
    """Complete in bash by it."""
    add_completion_class(WholeWords)
