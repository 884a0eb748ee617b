r"""Rules of a route for the fields of its requests, or of its answers (``action.headers``), compiled.

::

    rules = HeaderRules({"X-Env": compiled("prod")}, {}, ["X-Debug"], of_requests=True)
    rules(b"X-Debug: 1\r\nx_env: test\r\nAccept: */*\r\n", exchange)      # b"Accept: */*\r\nX-Env: prod\r\n"

They are applied last: after the fields of one hop and those that say who the client is were removed, and the proxy has added its
own. So a client that lists ``X-Env`` in ``Connection`` cannot remove the one that a rule sets (CVE-2024-45410).

On requests a rule concerns a name in all spellings that programs cannot tell apart, because servers that make variables of
fields give ``X_Env`` and ``X-Env`` the same name: a client could send the other one, and be believed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from smartproxy.http.templates import Template, without_controls
from smartproxy.wire.http_fields import FieldRemoval

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from smartproxy.model.exchange import Exchange

#: Fields that a rule cannot change, in lower case, and what to do instead.
REFUSED: Final[Mapping[str, str]] = {
    **dict.fromkeys(("content-length", "transfer-encoding"), "the proxy frames messages itself"),
    **dict.fromkeys(
        ("connection", "keep-alive", "te", "trailer", "upgrade", "proxy-connection"),
        "it is about one connection, and the proxy writes it where it is needed; see action.http for connections",
    ),
}
_SEPARATOR: Final = re.compile(r"[-_.]")


class HeaderRules:
    """The rules for one kind of message.

    :param set_: replaces every field of that name. No field is sent where the value is empty.
    :param add: adds a field beside others of that name, likewise.
    :param remove: names.
    :param of_requests: whether other spellings of the names are removed, too.
    """

    __slots__ = ("_added", "_constant", "_dropped", "_rules")

    def __init__(
        self,
        set_: Mapping[str, Template],
        add: Mapping[str, Template],
        remove: Collection[str],
        *,
        of_requests: bool,
    ) -> None:
        self._rules = (dict(set_), dict(add), list(remove))
        self._dropped = _removal([*set_, *remove], spellings=of_requests)
        added = [*set_.items(), *add.items()]
        self._constant: bytes | None = None
        self._added = [(name.encode(), template) for name, template in added]
        if all(template.constant is not None for _, template in added):
            self._constant = b"".join(
                _line(name.encode(), template.constant or "") for name, template in added
            )

    def __call__(self, lines: bytes, exchange: Exchange) -> bytes:
        """``lines``, with the rules applied.

        :param lines: of fields, each with its CRLF.
        """
        kept = self.without(lines)
        if self._constant is not None:
            return kept + self._constant
        return kept + b"".join([_line(name, template(exchange)) for name, template in self._added])

    def without(self, lines: bytes) -> bytes:
        """Those of ``lines`` that no rule sets or removes."""
        return lines if self._dropped is None else self._dropped(lines)

    def written(self) -> dict[str, object]:
        """The rules under the keys of a configuration."""
        set_, add, remove = self._rules
        return {
            "set": {name: template.text for name, template in set_.items()},
            "add": {name: template.text for name, template in add.items()},
            "remove": remove,
        }


def with_answer_rules(lines: bytes, exchange: Exchange) -> bytes:
    """The fields of an answer with the rules of its route; a request that has no route yet has none."""
    plan = exchange.routed.route.http
    if plan is None or plan.answer_rules is None or not exchange.is_counted:
        return lines
    return plan.answer_rules(lines, exchange)


def request_trailers(trailers: bytes, exchange: Exchange) -> bytes:
    """The trailers of a request without the fields that a rule of its route sets or removes."""
    plan = exchange.routed.route.http
    return trailers if plan is None or plan.request_rules is None else plan.request_rules.without(trailers)


def answer_trailers(trailers: bytes, exchange: Exchange) -> bytes:
    """The trailers of an answer without the fields that a rule of its route sets or removes."""
    plan = exchange.routed.route.http
    return trailers if plan is None or plan.answer_rules is None else plan.answer_rules.without(trailers)


def whole_with_answer_rules(answer: bytes, exchange: Exchange) -> bytes:
    """:func:`with_answer_rules` for a whole answer of the proxy itself."""
    line, _, rest = answer.partition(b"\r\n")
    block, _, body = rest.partition(b"\r\n\r\n")
    return b"%b\r\n%b\r\n%b" % (line, with_answer_rules(block + b"\r\n", exchange), body)


def spellings_of(name: str) -> str:
    """A name in the form that is the same for all of its spellings."""
    return _SEPARATOR.sub("-", name.lower())


def _removal(names: Collection[str], *, spellings: bool) -> FieldRemoval | None:
    if not names:
        return None
    patterns = (
        "[-_.]".join(map(re.escape, _SEPARATOR.split(name))) if spellings else re.escape(name)
        for name in names
    )
    return FieldRemoval("|".join(patterns).encode())


def _line(name: bytes, value: str) -> bytes:
    """One field; nothing for a value that is empty: a target that looks for the field must not find it."""
    if not value:
        return b""
    if not value.isprintable():
        value = without_controls(value)
    return b"%b: %b\r\n" % (name, value.encode("utf-8", "replace"))
