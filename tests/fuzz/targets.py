"""Every fuzz target by name: a function of bytes that raises where a property does not hold, and its seeds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from tests.fuzz import channel, http, readers, seeds, wire


class Target(NamedTuple):
    """One target.

    :ivar check: raises where a property does not hold; returns how many bytes of the input were understood.
    :ivar seeds: inputs to begin with.
    """

    check: Callable[[bytes], int]
    seeds: tuple[bytes, ...]


TARGETS: Final[dict[str, Target]] = {
    "proxy_v1": Target(wire.check_proxy_v1, seeds.PROXY_V1),
    "proxy_v2": Target(wire.check_proxy_v2, seeds.PROXY_V2),
    "proxy_detect": Target(wire.check_proxy_detect, seeds.PROXY_DETECT),
    "proxy_tlv": Target(wire.check_proxy_tlv, seeds.PROXY_TLV),
    "client_hello": Target(wire.check_client_hello, seeds.HELLO),
    "tls_record": Target(wire.check_tls_record, seeds.TLS_RECORD),
    "tls_alert": Target(wire.check_tls_alert, seeds.TLS_ALERT),
    "http_head": Target(wire.check_http_head, seeds.HTTP_HEAD),
    "http_response": Target(wire.check_http_response, seeds.HTTP_RESPONSE),
    "http_answer": Target(http.check_http_answer, seeds.HTTP_ANSWER),
    "http_fields": Target(http.check_http_fields, seeds.HTTP_FIELDS),
    "http_framing": Target(http.check_http_framing, seeds.HTTP_FRAMING),
    "http_chunked": Target(http.check_http_chunked, seeds.HTTP_CHUNKED),
    "postgres": Target(wire.check_postgres, seeds.POSTGRES),
    "sniff": Target(wire.check_sniff, seeds.SNIFF),
    "host": Target(wire.check_host, seeds.HOST),
    "yaml_reader": Target(readers.check_yaml, seeds.YAML),
    "json_reader": Target(readers.check_json, seeds.JSON),
    "toml_reader": Target(readers.check_toml, seeds.TOML),
    "settings": Target(readers.check_settings, seeds.SETTINGS),
    "tls_channel": Target(channel.check_channel, seeds.CHANNEL),
}
