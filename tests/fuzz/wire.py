"""Fuzz targets of ``smartproxy.wire``: one for each parser, with what its builder has to make of the result."""

from __future__ import annotations

from smartproxy.wire import (
    client_hello,
    host,
    http_head,
    http_response,
    postgres,
    proxy_detect,
    proxy_tlv,
    proxy_v1,
    proxy_v2,
    sniff,
    tls_alert,
    tls_record,
)
from smartproxy.wire.proxy_header import AddressFamily
from smartproxy.wire.tls_alert import Alert
from smartproxy.wire.verdict import Done, Malformed, NeedMore
from tests.fuzz.verdicts import check_incremental, check_verdicts, counted

#: Low limits of a handshake message, so that short inputs reach them.
_KIND, _LIMIT, _WIRE_LIMIT = 1, 200, 400
_DATAGRAMS = {AddressFamily.UDP4, AddressFamily.UDP6, AddressFamily.UNIX_DGRAM}
#: A rebuilt hello has extensions of its own, which must fit in the length of the block with those of the input.
_REBUILT_LIMIT = 30_000


def reached(verdict):
    """How many bytes of an input were understood: what Hypothesis tries to increase."""
    if isinstance(verdict, Done):
        return verdict.consumed
    return verdict.at_least if isinstance(verdict, NeedMore) else 0


def check_proxy_v1(data):
    verdict = check_verdicts(proxy_v1.parse, data)
    if isinstance(verdict, Done):
        header = verdict.value
        built = proxy_v1.build(header.source, header.destination)
        again = proxy_v1.parse(built)
        assert again.consumed == len(built) <= proxy_v1.LIMIT
        assert again.value[3:5] == header[3:5], "source and destination after the round trip"
    return reached(verdict)


def check_proxy_v2(data):
    verdict = check_verdicts(proxy_v2.parse, data)
    if isinstance(verdict, Done):
        header = verdict.value
        # IPv4-mapped addresses may be written in fewer bytes; a checksum needs seven more.
        for crc32c in (False, True) if verdict.consumed < proxy_v2.LIMIT else (False,):
            again = proxy_v2.parse(_rebuilt_v2(header, crc32c=crc32c))
            assert again.value._replace(family=None, tlvs=()) == header._replace(family=None, tlvs=())
            assert _kept(again.value.tlvs) == _kept(header.tlvs)
    return reached(verdict)


def _rebuilt_v2(header, *, crc32c):
    paths = (header.source_path, header.destination_path)
    source, destination = paths if header.source_path is not None else (header.source, header.destination)
    return proxy_v2.build(
        source,
        destination,
        tlvs=header.tlvs,
        local=header.local,
        crc32c=crc32c,
        datagram=header.family in _DATAGRAMS,
    )


def _kept(tlvs):
    return [tlv for tlv in tlvs if tlv.type != proxy_tlv.PP2_TYPE_CRC32C]


def check_proxy_detect(data):
    verdict = check_verdicts(proxy_detect.parse, data)
    begins = proxy_detect.begins_header(data)
    if begins is None:
        assert isinstance(verdict, NeedMore)
    elif not begins:
        assert verdict == Done(None, 0)
    else:
        parse = proxy_v2.parse if data.startswith(proxy_v2.SIGNATURE) else proxy_v1.parse
        assert verdict == parse(data)
    return reached(verdict)


def check_proxy_tlv(data):
    with counted() as calls:
        found = proxy_tlv.parse_tlvs(data)
        info = proxy_tlv.parse_ssl(data)
    assert calls.count <= 50 + 10 * len(data), f"{calls.count} calls"
    if not isinstance(found, Malformed):
        assert proxy_tlv.build_tlvs(found) == data
    if isinstance(info, Malformed):
        return 0
    built = proxy_tlv.build_ssl(info)
    assert len(built) == len(data)
    assert proxy_tlv.parse_ssl(built) == info
    return len(data)


def check_client_hello(data):
    verdict = check_verdicts(client_hello.parse, data)
    check_incremental(client_hello.HelloParser, client_hello.parse, data)
    if isinstance(verdict, Malformed):
        assert isinstance(client_hello.alert_for(verdict), Alert)
    elif isinstance(verdict, Done):
        _check_hello(verdict.value)
        if len(data) < _REBUILT_LIMIT:
            again = client_hello.parse(_rebuilt_hello(verdict.value))
            ours = () if verdict.value.signature_algorithms else again.value.signature_algorithms
            expected = verdict.value._replace(signature_algorithms=ours or verdict.value.signature_algorithms)
            assert again.value == expected, f"{again} is not {expected}"
    return reached(verdict)


def _check_hello(hello):
    assert hello.cipher_suites
    assert hello.versions
    assert all(0 < len(name) <= 255 for name in hello.alpn)
    if hello.server_name is not None:
        assert not hello.bad_name
        assert not host.is_address(hello.server_name)
        assert host.host_name(hello.server_name.encode("ascii")) == hello.server_name


def _rebuilt_hello(hello):
    more = {"signature_algorithms": hello.signature_algorithms} if hello.signature_algorithms else {}
    return client_hello.build(
        "192.0.2.1" if hello.bad_name else hello.server_name,
        hello.alpn,
        hello.versions,
        cipher_suites=hello.cipher_suites,
        ticket=b"ticket" if hello.offers_ticket else b"",
        **more,
    )


def check_tls_record(data):
    def parse(received):
        return tls_record.handshake_message(received, _KIND, _LIMIT, _WIRE_LIMIT)

    def make():
        return tls_record.HandshakeMessage(_KIND, _LIMIT, _WIRE_LIMIT)

    verdict = check_verdicts(parse, data)
    check_incremental(make, parse, data)
    if isinstance(verdict, Done):
        assert len(verdict.value) <= _LIMIT
        assert verdict.consumed <= _WIRE_LIMIT
        message = bytes([_KIND]) + len(verdict.value).to_bytes(3, "big") + verdict.value
        for size in (5, 50, tls_record.RECORD_LIMIT):
            wrapped = tls_record.wrap(tls_record.HANDSHAKE, message, size=size)
            if len(wrapped) <= _WIRE_LIMIT:
                assert parse(wrapped) == Done(verdict.value, len(wrapped))
    return reached(verdict)


def check_tls_alert(data):
    verdict = check_verdicts(tls_alert.parse, data)
    if isinstance(verdict, Done):
        built = tls_alert.build(*verdict.value)
        assert tls_alert.parse(built) == verdict
        assert built[3:] == data[3 : verdict.consumed]
    return reached(verdict)


def check_http_head(data):
    verdict = check_verdicts(http_head.parse, data)
    check_incremental(http_head.HeadParser, http_head.parse, data)
    if isinstance(verdict, Malformed):
        status = http_head.status_of(verdict)
        assert 400 <= status < 500 if "HTTP/1" not in verdict.why else status == 505
    elif isinstance(verdict, Done):
        head = verdict.value
        version = "{}.{}".format(*head.version)
        fields = [f"{name}: {value}" for name, value in head.headers]
        lines = [f"{head.method} {head.target} HTTP/{version}", *fields, "", ""]
        built = "\r\n".join(lines).encode("latin-1")
        if len(built) <= http_head.HEAD_LIMIT:
            assert http_head.parse(built) == Done(head, len(built))
        assert http_head.begins_request(data) is not None
    return reached(verdict)


def check_http_response(data):
    """Input: a status (2 bytes), then a name, a value and a body, separated by NUL."""
    status = int.from_bytes(data[:2], "big")
    name, value, body = (*data[2:].split(b"\0", 2), b"", b"", b"")[:3]
    headers = {name.decode("latin-1"): value.decode("latin-1")} if name else {}
    try:
        built = http_response.build(status, body, headers)
    except ValueError:
        return 0
    head, blank, rest = built.partition(b"\r\n\r\n")
    assert blank
    assert rest == body
    lines = head.split(b"\r\n")
    assert len(lines) == 2 + bool(name) + (status not in http_response.BODILESS)
    assert not any(b"\n" in line or b"\r" in line for line in lines)
    assert http_response.build(status, body, headers, to_head=True) == head + blank
    return len(data)


def check_postgres(data):
    verdict = check_verdicts(postgres.parse, data)
    if isinstance(verdict, Done):
        assert postgres.build(verdict.value) == data[: verdict.consumed]
    if data and not postgres.could_be_request(data):
        assert isinstance(verdict, Malformed)
    cancel = check_verdicts(postgres.parse_cancel, data)
    if isinstance(cancel, Done):
        assert isinstance(verdict, Malformed)
        process = int.from_bytes(data[8:12], "big", signed=True)
        assert postgres.build_cancel(process, data[12 : cancel.consumed]) == data[: cancel.consumed]
    answer = check_verdicts(postgres.parse_answer, data)
    if isinstance(answer, Done):
        assert postgres.build_answer(answer.value) == data[: answer.consumed]
    return max(reached(verdict), reached(cancel))


def check_sniff(data):
    verdict = check_verdicts(sniff.sniff, data)
    assert not isinstance(verdict, Malformed)
    if isinstance(verdict, NeedMore):
        assert verdict.at_least <= sniff.ENOUGH
        return verdict.at_least
    begins = http_head.begins_request(data)
    assert (verdict.value is sniff.SniffedProtocol.HTTP) == (begins is True)
    is_tls = client_hello.parse(data[:2]) != tls_record.OTHER_RECORD
    assert (verdict.value is sniff.SniffedProtocol.TLS) == is_tls
    return len(data)


def check_host(data):
    name = host.host_name(data)
    if name is not None:
        assert host.host_name(name.encode("ascii") + b".") == name
        assert all(host.is_label(label) for label in name.split("."))
    text = data.decode("utf-8", "surrogateescape")
    host.is_loopback(text)
    host.is_label(text)
    host.unmapped(text)
    if host.is_address(text):
        assert host.normalise_address(text) == host.address_text(host.packed_address(text))
    try:
        normal = host.normalise_address(text)
    except ValueError:
        return 0 if name is None else len(data)
    assert host.normalise_address(normal) == normal == host.unmapped(normal)
    assert host.normalise_address(host.ipv6_text(host.packed_address(normal))) == normal
    assert host.is_address(normal)
    assert host.addresses_overlap(normal, text)
    for other in ("::", "0.0.0.0", "127.0.0.1", ""):
        assert host.addresses_overlap(normal, other) == host.addresses_overlap(other, normal)
    return len(data)
