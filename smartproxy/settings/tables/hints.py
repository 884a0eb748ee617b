"""What to write instead of a value that is not valid, where the mistake can be recognised.

Each function is given the value as written and returns the end of a message, like ``write "*.example.com"``, or ``""`` where
the mistake is none of those that people make. The forms come from the configurations of other proxies: a port behind a
name, a URL, a regular expression, a netmask, a unit that is spelled out.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Final

from smartproxy.routing.domains import normalise_pattern
from smartproxy.wire.host import is_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)(.*)")
_PORT_BEHIND = re.compile(r"(.*?):([0-9]{1,5}|\*)")
_SEVERAL = re.compile(r"[,;\s]+")
#: Signs of a regular expression: of nginx (``~``), of HAProxy and Caddy, or a function of Traefik's rules.
_REGEX = re.compile(r"[\^$\\()|+\[\]{}~`]|\.\*(?!\.)")
_NETMASK = re.compile(r"([0-9.]+)/([0-9]+\.[0-9]+\.[0-9]+\.[0-9]+)")
_STARS = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3}){0,2})(?:\.[*xX])+")
_ANYONE: Final = 'write "0.0.0.0/0" and "::/0", or leave the list out'
_ADDRESS_WORDS: Final = {
    "any": _ANYONE, "all": _ANYONE, "*": _ANYONE,
    "localhost": 'write "127.0.0.0/8" and "::1"',
}  # fmt: skip
_WORD_UNITS = re.compile(
    r"([0-9]+(?:\.[0-9]+)?)\s*(ms|milli\w*|s|sec\w*|m|min\w*|h|hrs?|hours?|d|days?)", re.IGNORECASE
)
_UNIT_OF = {"s": "s", "m": "m", "h": "h", "d": "d"}
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmg])(?:i?b|ytes)?", re.IGNORECASE)
_PORTS = re.compile(r"([0-9]{1,5})\s*(?:-|:|\.\.|to)\s*([0-9]{1,5})")


def domain_hint(written: str) -> str:
    """For an entry of ``domains``."""
    return _first(
        written,
        _domain_of_url,
        _bracketed_address,
        _domain_with_port,
        _domain_with_dot,
        _regex,
        _domain_with_path,
        _several,
        _star,
    )


def _domain_of_url(text: str) -> str:
    url = _URL.fullmatch(text)
    return _write(_pattern(url[2]), " without the scheme", _path_hint(url[3])) if url else ""


def _bracketed_address(text: str) -> str:
    found = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](?::([0-9]{1,5}))?", text)
    if found is None or not is_address(found[1]):
        return ""
    return _write(found[1], f" and put {found[2]} in ports" if found[2] else "")


def _domain_with_port(text: str) -> str:
    found = _PORT_BEHIND.fullmatch(text)
    if found is None:
        return ""
    return _write(_pattern(found[1]), f" and put {found[2]} in ports" if found[2] != "*" else "")


def _domain_with_dot(text: str) -> str:
    name = _pattern(text.strip(".")) if text.startswith(".") else ""
    return name and f'write "*.{name}" for the names below it, and "{name}" for itself'


def _regex(text: str) -> str:
    is_regex = _REGEX.search(text) is not None
    return (
        "regular expressions are not supported; list the names, a leading * stands for one label or more"
        if is_regex
        else ""
    )


def _domain_with_path(text: str) -> str:
    name, slash, path = text.partition("/")
    return _write(_pattern(name), "", _path_hint(slash + path)) if slash else ""


def _several(text: str) -> str:
    parts = [part for part in _SEVERAL.split(text) if part]
    return _write_list(parts) if len(parts) > 1 and "-" not in parts else ""


def _star(text: str) -> str:
    if text.startswith("*") and "*" not in text[1:]:
        return _write(_pattern(f"*.{text[1:].lstrip('.-_')}"))
    return "a * stands for the first labels only" if "*" in text else ""


def host_hint(written: str) -> str:
    """For the host of a target."""
    text = written.strip()
    if text.startswith(("unix:", "/")):
        return f"for a unix socket write {{unix: {text.removeprefix('unix:')}}}, without host and port"
    if url := _URL.fullmatch(text):
        name, _, port = url[2].partition(":")
        also = f" and port: {port}" if port else ""
        return _write(name, also + (" and tls: true" if url[1].lower() in {"https", "tls", "wss"} else ""))
    if text.startswith("[") and is_address(text[1 : text.find("]")]):
        port = text.partition("]:")[2]
        return _write(text[1 : text.find("]")], f" and port: {port}" if port else "")
    if port_behind := _PORT_BEHIND.fullmatch(text):
        return _write(port_behind[1], f" and port: {port_behind[2]}")
    return _several(text)


def socket_hint(written: str) -> str:
    """For the path of a unix socket."""
    path = written.strip().removeprefix("unix:")
    return _write(path) if path and path != written else ""


def address_hint(written: str) -> str:
    """For an entry of an address list."""
    return _ADDRESS_WORDS.get(written.strip().lower()) or _first(
        written, _netmask, _starred_network, _address_with_port, _several, _spaced_range
    )


def _netmask(text: str) -> str:
    found = _NETMASK.fullmatch(text)
    return _write(_network(f"{found[1]}/{found[2]}")) if found else ""


def _starred_network(text: str) -> str:
    found = _STARS.fullmatch(text)
    if found is None:
        return ""
    numbers = found[1].split(".")
    return _write(_network(".".join([*numbers, "0", "0", "0"][:4]) + f"/{8 * len(numbers)}"))


def _address_with_port(text: str) -> str:
    found = re.fullmatch(r"([0-9.]+):[0-9]+", text)
    return _write(found[1], " without a port") if found else ""


def _spaced_range(text: str) -> str:
    """``a - b``; also after :func:`_several`, which takes what has no hyphen between blanks."""
    return _write("-".join(part.strip() for part in text.split("-"))) if re.search(r"\s", text) else ""


def bind_hint(written: str) -> str:
    """For an address to listen on."""
    text = written.strip()
    if text in {"*", "any", "all"}:
        return 'write "", or leave it out'
    if text == "localhost":
        return 'write "127.0.0.1"'
    port = _PORT_BEHIND.fullmatch(text)
    if port and (is_address(port[1].strip("[]")) or not port[1]):
        return _write(port[1].strip("[]"), f" and put {port[2]} in ports")
    return "write an address of the interface" if re.fullmatch(r"[a-z]+[0-9]+", text) else ""


def ports_hint(written: object) -> str:
    """For ``ports``."""
    if not isinstance(written, str):
        return ""
    text = written.strip()
    if found := _PORTS.fullmatch(text):
        return _write("{}-{}".format(*sorted(found.groups(), key=int)))
    if found := re.fullmatch(r"(.*):([0-9]{1,5})", text):
        place = f' and put "{found[1]}" in address' if found[1] not in {"", "*"} else ""
        return f"write {found[2]}{place}"
    if found := re.fullmatch(r"([0-9]{1,5})/(?:tcp|udp)", text):
        return f"write {found[1]}"
    parts = [part for part in _SEVERAL.split(text) if part]
    return (
        f"write a list, like [{', '.join(parts)}]" if len(parts) > 1 and all(map(str.isdigit, parts)) else ""
    )


def duration_hint(written: object) -> str:
    """For a duration."""
    text = written.strip() if isinstance(written, str) else ""
    if _NUMBER.fullmatch(text):
        return f'write "{text}s" for seconds, or {text} without quotes for milliseconds'
    found = _WORD_UNITS.fullmatch(text)
    if found is None:
        return ""
    unit = found[2].lower()
    meant = found[1] + ("ms" if unit.startswith(("ms", "milli")) else _UNIT_OF[unit[0]])
    return _write(meant) if meant != text else ""


def size_hint(written: object) -> str:
    """For a size."""
    text = written.strip() if isinstance(written, str) else ""
    if text.isdigit():
        return f"write {text} without quotes"
    found = _SIZE.fullmatch(text)
    meant = f"{found[1]}{ {'k': 'KiB', 'm': 'MiB', 'g': 'GiB'}[found[2].lower()] }" if found else ""
    # What is a size already is one that the key may not have.
    return _write(meant) if meant not in {"", text} else ""


def quotes_hint(written: object) -> str:
    """For a number, or ``true`` or ``false``, where a string is due."""
    return "put it in quotes" if isinstance(written, int | float) else ""


def header_hint(written: str) -> str:
    """For the value that a header is set to."""
    return "to remove a header, list it in remove" if not written else ""


def method_hint(written: str) -> str:
    """For an entry of ``methods``."""
    parts = [part for part in _SEVERAL.split(written.upper()) if part]
    return _write_list(parts) if all(re.fullmatch(r"[A-Z][A-Z0-9_-]*", part) for part in parts) else ""


def _first(written: str, *hints: Callable[[str], str]) -> str:
    text = written.strip()
    return next(filter(None, (hint(text) for hint in hints)), "")


def path_hint(written: object) -> str:
    """For a path pattern."""
    text = written.strip() if isinstance(written, str) else ""
    path = re.sub(r"\.[*+]", "*", text.removeprefix("~").strip().removeprefix("^").removesuffix("$"))
    path = path.partition("?")[0].partition("#")[0] if path.startswith("/") else path
    if not path.startswith(("/", "*")):
        path = "/" + path
    return _write(path) if path not in {text, "/"} and re.fullmatch(r"[/*][\w.~/*:@%=,;+&!-]*", path) else ""


def _pattern(text: str) -> str:
    """``text`` if it is a domain pattern, without user and port; else nothing."""
    name = _PORT_BEHIND.sub(r"\1", text.rpartition("@")[2])
    try:
        normalise_pattern(name)
    except ValueError:
        return ""
    return name


def _path_hint(path: str) -> str:
    return f', and path: "{path}"' if path not in {"", "/"} else ""


def _network(text: str) -> str:
    try:
        return str(IPv4Network(text, strict=False))
    except ValueError:
        return ""


def _write(value: str, *more: str) -> str:
    return f'write "{value}"{"".join(more)}' if value else ""


def _write_list(values: Iterable[str]) -> str:
    quoted = [f'"{value}"' for value in values]
    return (
        f"write {quoted[0]}"
        if len(quoted) == 1
        else f"write a list, like [{', '.join(quoted)}]"
        if quoted
        else ""
    )
