"""Calls over real sockets: hostile resolvers, lying peers, redirects, TLS, caps, and the record of decisions."""

import asyncio

import httpx
import pytest

from redoubt.core.egress import (
    Egress,
    EgressBroken,
    EgressPolicy,
    EgressRefused,
    EgressTimeout,
    EgressTls,
    EgressTooLarge,
    EgressUnreachable,
)
from redoubt.core.egress.network import GuardedBackend
from tests.core.egress.support import (
    OK,
    PUBLIC,
    Authority,
    NoResolver,
    Observer,
    RecordingConnector,
    ScriptedResolver,
    server,
    server_context,
)

HOST = "api.example.com"
POLICY = EgressPolicy(allow=[f"{HOST}:443", "other.example.com:443"])


def development(port):
    return EgressPolicy(private=[f"127.0.0.1:{port}", f"pay.localhost:{port}"], profile="development")


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
async def tls_server(authority):
    names = []
    cert, key = authority.issue(HOST, label="server")
    async with server(context=server_context(cert, key, names=names)) as (port, heads):
        yield port, heads, names


async def test_a_listed_public_host_is_called_at_the_checked_address_with_its_own_name(authority, tls_server):
    port, heads, names = tls_server
    resolver, connector = ScriptedResolver([PUBLIC]), RecordingConnector(port)
    async with Egress(
        POLICY, tls=EgressTls(ca_file=authority.file), resolver=resolver, connector=connector
    ) as egress:
        answer = await egress.request(
            "POST", f"https://{HOST}/v1/x?y=1", headers={"X-A": "b"}, content=b"hi", purpose="t"
        )
    assert (answer.status, answer.body) == (200, b"ok")
    assert connector.asked == [(PUBLIC, 443)]
    assert names == [HOST]
    assert heads[0].startswith(b"POST /v1/x?y=1 HTTP/1.1\r\n")
    assert f"host: {HOST}\r\n".encode() in heads[0].lower()
    assert b"accept-encoding: identity" in heads[0].lower()


async def test_the_network_itself_refuses_what_no_list_names_and_local_sockets():
    """Whatever a client above does with its URLs, this is the last door."""
    connector = RecordingConnector()
    backend = GuardedBackend(POLICY, ScriptedResolver([PUBLIC]), connector)
    for host, port in (("evil.test", 443), (HOST, 80), ("127.0.0.1", 443), ("[::1]", 443), (PUBLIC, 443)):
        with pytest.raises(EgressRefused):
            await backend.connect_tcp(host, port)
    with pytest.raises(EgressRefused):
        await backend.connect_unix_socket("/run/docker.sock")
    assert connector.asked == []


@pytest.mark.parametrize(
    "answer",
    [
        ["127.0.0.1"],
        ["169.254.169.254"],
        [PUBLIC, "127.0.0.1"],
        ["10.0.0.1", PUBLIC],
        [PUBLIC, "::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["2002:7f00:1::1"],
        ["not an address"],
        [f"8.8.8.{i}" for i in range(17)],
    ],
)
async def test_one_bad_address_in_an_answer_refuses_the_call_before_any_connection(answer):
    connector = RecordingConnector()
    async with Egress(POLICY, resolver=ScriptedResolver(answer), connector=connector) as egress:
        with pytest.raises(EgressRefused):
            await egress.request("GET", f"https://{HOST}/", purpose="t")
    assert connector.asked == []


async def test_rebinding_changes_nothing_because_the_name_is_resolved_once_and_each_connection_is_checked(
    authority, tls_server
):
    port, heads, _ = tls_server
    resolver, connector = ScriptedResolver([PUBLIC], ["127.0.0.1"]), RecordingConnector(port)
    async with Egress(
        POLICY, tls=EgressTls(ca_file=authority.file), resolver=resolver, connector=connector
    ) as egress:
        for _ in range(2):  # the second goes over the pooled connection to the checked address
            assert (await egress.request("GET", f"https://{HOST}/", purpose="t")).status == 200
        assert resolver.asked == [HOST]
        await egress._pool.aclose()  # a new connection is resolved, and refused, anew
        with pytest.raises(EgressRefused):
            await egress.request("GET", f"https://{HOST}/", purpose="t")
    assert connector.asked == [(PUBLIC, 443)]
    assert len(heads) == 2


@pytest.mark.parametrize(
    "peer", [("127.0.0.1", 443), (PUBLIC, 80), ("93.184.216.35", 443), "broken", (), ("x", 443)]
)
async def test_a_connection_to_another_peer_than_was_checked_is_dropped_before_a_byte_is_sent(
    authority, tls_server, peer
):
    port, heads, names = tls_server
    connector = RecordingConnector(port, peer=peer)
    tls = EgressTls(ca_file=authority.file)
    async with Egress(POLICY, tls=tls, resolver=ScriptedResolver([PUBLIC]), connector=connector) as egress:
        with pytest.raises(EgressRefused) as refused:
            await egress.request("GET", f"https://{HOST}/", purpose="t")
    assert refused.value.reason == "peer"
    assert heads == []
    assert names == []


async def test_a_dead_address_falls_back_to_the_next_checked_one(authority, tls_server):
    port, _, _ = tls_server
    connector = RecordingConnector(port, dead=["2606:4700::1", "8.8.4.4"])
    resolver = ScriptedResolver(["2606:4700::1", "8.8.4.4", PUBLIC])
    async with Egress(
        POLICY, tls=EgressTls(ca_file=authority.file), resolver=resolver, connector=connector
    ) as egress:
        assert (await egress.request("GET", f"https://{HOST}/", purpose="t")).status == 200
    assert [address for address, _ in connector.asked] == ["2606:4700::1", "8.8.4.4", PUBLIC]


async def test_when_nothing_takes_the_connection_nothing_was_sent():
    async with Egress(POLICY, resolver=ScriptedResolver([PUBLIC]), connector=RecordingConnector()) as egress:
        with pytest.raises(EgressUnreachable):
            await egress.request("GET", f"https://{HOST}/", purpose="t")
    async with Egress(POLICY, resolver=ScriptedResolver([]), connector=RecordingConnector()) as egress:
        with pytest.raises(EgressUnreachable):
            await egress.request("GET", f"https://{HOST}/", purpose="t")


@pytest.mark.parametrize(
    "place",
    [
        "http://169.254.169.254/latest",
        "https://other.example.com/",
        "http://127.0.0.1:{port}/again",
        "//evil.test/",
    ],
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer_and_is_never_followed(place, status):
    heads = []

    async def answer(reader, writer, head):
        heads.append(head)
        writer.write(
            f"HTTP/1.1 {status} X\r\nLocation: {place.format(port=1)}\r\nContent-Length: 0\r\n\r\n".encode()
        )

    async with server(answer) as (port, _), Egress(development(port), resolver=NoResolver()) as egress:
        got = await egress.request("GET", f"http://127.0.0.1:{port}/", purpose="t")
    assert got.status == status
    assert len(heads) == 1


async def test_localhost_names_are_mapped_by_ourselves():
    async with server() as (port, heads), Egress(development(port), resolver=NoResolver()) as egress:
        assert (await egress.request("GET", f"http://pay.localhost:{port}/", purpose="t")).body == b"ok"
    assert f"host: pay.localhost:{port}".encode() in heads[0].lower()


async def test_a_localhost_name_in_production_is_refused_as_loopback():
    async with Egress(EgressPolicy(allow=["pay.localhost:443"]), resolver=NoResolver()) as egress:
        with pytest.raises(EgressRefused) as refused:
            await egress.request("GET", "https://pay.localhost/", purpose="t")
    assert refused.value.reason == "loopback"


async def test_proxies_and_certificate_settings_of_the_environment_are_ignored(monkeypatch, tmp_path):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys.log"))
    async with server() as (port, _), Egress(development(port)) as egress:
        assert (await egress.request("GET", f"http://127.0.0.1:{port}/", purpose="t")).status == 200
    assert not (tmp_path / "keys.log").exists()


async def test_an_answer_above_the_cap_is_refused_with_and_without_an_announced_length():
    async def endless(reader, writer, head):
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
            await writer.drain()

    for answer in (endless, b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000):
        async with server(answer) as (port, _), Egress(development(port), max_bytes=4096) as egress:
            with pytest.raises(EgressTooLarge):
                await egress.request("GET", f"http://127.0.0.1:{port}/", purpose="t")


async def test_a_compressed_answer_is_refused():
    bomb = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nxxxx"
    async with server(bomb) as (port, _), Egress(development(port)) as egress:
        with pytest.raises(EgressTooLarge):
            await egress.request(
                "GET", f"http://127.0.0.1:{port}/", headers={"Accept-Encoding": "gzip"}, purpose="t"
            )


async def test_an_answer_that_drips_is_ended_by_the_whole_timeout():
    async def drip(reader, writer, head):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1000):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with server(drip) as (port, _), Egress(development(port)) as egress:
        with pytest.raises(EgressTimeout):
            await egress.request("GET", f"http://127.0.0.1:{port}/", timeout=0.4, purpose="t")


async def test_a_connection_that_breaks_after_sending_is_told_apart_from_one_that_never_was():
    async def slam(reader, writer, head):
        writer.transport.abort()

    async with server(slam) as (port, _), Egress(development(port)) as egress:
        with pytest.raises(EgressBroken):
            await egress.request("POST", f"http://127.0.0.1:{port}/", content=b"x", purpose="t")
    async with Egress(development(port)) as egress:
        with pytest.raises(EgressUnreachable):
            await egress.request("POST", f"http://127.0.0.1:{port}/", content=b"x", purpose="t")


async def test_a_certificate_of_another_name_or_another_authority_is_refused(authority, tmp_path):
    wrong_cert, wrong_key = authority.issue("evil.test", label="wrong")
    (tmp_path / "b").mkdir()
    stranger = Authority(tmp_path / "b", "stranger")
    cert, key = stranger.issue(HOST, label="foreign")
    for context in (server_context(wrong_cert, wrong_key), server_context(cert, key)):
        async with server(context=context) as (port, heads):
            connector = RecordingConnector(port)
            tls = EgressTls(ca_file=authority.file)
            async with Egress(
                POLICY, tls=tls, resolver=ScriptedResolver([PUBLIC]), connector=connector
            ) as egress:
                with pytest.raises(EgressUnreachable):
                    await egress.request("GET", f"https://{HOST}/", purpose="t")
            assert heads == []


async def test_an_own_authority_replaces_the_public_ones_and_the_public_ones_do_not_know_it(
    authority, tls_server
):
    port, heads, _ = tls_server
    async with Egress(
        POLICY, resolver=ScriptedResolver([PUBLIC]), connector=RecordingConnector(port)
    ) as egress:
        with pytest.raises(EgressUnreachable):
            await egress.request("GET", f"https://{HOST}/", purpose="t")
    assert heads == []


async def test_a_client_certificate_is_shown_where_it_is_asked_for(authority):
    server_cert, server_key = authority.issue("127.0.0.1", label="internal")
    client_cert, client_key = authority.issue("app.test", label="client")
    context = server_context(server_cert, server_key, client_ca=authority.file)
    async with server(context=context) as (port, _):
        policy = EgressPolicy(internal=[f"127.0.0.1:{port}"])
        with_cert = EgressTls(authority.file, client_cert, client_key)
        async with Egress(policy, tls=with_cert) as egress:
            assert (await egress.request("GET", f"https://127.0.0.1:{port}/", purpose="t")).status == 200
        async with Egress(policy, tls=EgressTls(authority.file)) as egress:
            with pytest.raises((EgressBroken, EgressUnreachable)):
                await egress.request("GET", f"https://127.0.0.1:{port}/", purpose="t")


async def test_a_foreign_host_header_method_or_extension_does_not_pass():
    async with server() as (port, heads), Egress(development(port)) as egress:
        url = f"http://127.0.0.1:{port}/"
        with pytest.raises(EgressRefused) as refused:
            await egress.request("GET", url, headers={"Host": "internal.test"}, purpose="t")
        assert refused.value.reason == "host-header"
        for method in ("CONNECT", "TRACE", "get", "GET /x"):
            with pytest.raises(EgressRefused):
                await egress.request(method, url, purpose="t")
        assert heads == []


async def test_a_clients_own_transport_stands_under_the_same_policy(authority, tls_server):
    port, _, names = tls_server
    egress = Egress(
        POLICY,
        tls=EgressTls(ca_file=authority.file),
        resolver=ScriptedResolver([PUBLIC]),
        connector=RecordingConnector(port),
    )
    async with egress, httpx.AsyncClient(transport=egress.transport("sdk"), follow_redirects=True) as client:
        sent = await client.get(f"https://{HOST}/", extensions={"sni_hostname": "evil.test"})
        assert sent.text == "ok"
        assert names == [HOST]
        assert "network_stream" not in sent.extensions
        for url in ("https://evil.test/", "http://127.0.0.1:1/", f"http://{HOST}/"):
            with pytest.raises(EgressRefused):
                await client.get(url)


async def test_an_sdk_sees_each_refusal_as_the_httpx_error_of_that_meaning():
    async def slam(reader, writer, head):
        writer.transport.abort()

    async def silence(reader, writer, head):
        await asyncio.sleep(5)

    for answer, expected in ((slam, httpx.ReadError), (silence, httpx.ReadTimeout)):
        async with server(answer) as (port, _), Egress(development(port)) as egress:
            client = httpx.AsyncClient(transport=egress.transport("sdk"), timeout=0.3)
            with pytest.raises(expected):
                await client.post(f"http://127.0.0.1:{port}/")
            with pytest.raises(httpx.ConnectError):
                await client.get("https://evil.test/")
    async with Egress(development(port)) as egress:
        client = httpx.AsyncClient(transport=egress.transport("sdk"))
        with pytest.raises(httpx.ConnectError):
            await client.get(f"http://127.0.0.1:{port}/")


async def test_an_sdk_that_follows_redirects_is_checked_at_each_hop():
    async def to_metadata(reader, writer, head):
        writer.write(
            b"HTTP/1.1 302 X\r\nLocation: http://169.254.169.254/latest\r\nContent-Length: 0\r\n\r\n"
        )

    async with server(to_metadata) as (port, _), Egress(development(port)) as egress:
        client = httpx.AsyncClient(transport=egress.transport("sdk"), follow_redirects=True)
        with pytest.raises(EgressRefused) as refused:
            await client.get(f"http://127.0.0.1:{port}/")
        await client.aclose()
    assert refused.value.reason == "not-allowed"


async def test_every_decision_is_observed_without_path_or_user_info():
    observer = Observer()
    async with server() as (port, _), Egress(development(port), observer=observer) as egress:
        await egress.request("GET", f"http://127.0.0.1:{port}/secret-path", purpose="probe")
        for url in ("https://user:hunter2@evil.test/x", "https://evil.test/token/hunter2"):
            with pytest.raises(EgressRefused):
                await egress.request("GET", url, purpose="probe")
    allowed, unclear, refused = observer.seen
    assert (allowed.allowed, allowed.target, allowed.purpose) == (True, f"127.0.0.1:{port}", "probe")
    assert (unclear.allowed, unclear.target, unclear.reason) == (False, "unclear", "userinfo")
    assert (refused.allowed, refused.target, refused.reason) == (False, "evil.test:443", "not-allowed")
    assert "hunter2" not in repr(observer.seen)


async def test_a_refused_address_is_observed_too():
    observer = Observer()
    async with Egress(
        POLICY, resolver=ScriptedResolver(["127.0.0.1"]), connector=RecordingConnector(), observer=observer
    ) as egress:
        with pytest.raises(EgressRefused):
            await egress.request("GET", f"https://{HOST}/", purpose="t")
    assert [(d.allowed, d.reason) for d in observer.seen] == [(True, "allowed"), (False, "loopback")]


async def test_a_call_that_cannot_be_recorded_is_not_made():
    async with server() as (port, heads), Egress(development(port), observer=Observer(fail=True)) as egress:
        with pytest.raises(RuntimeError):
            await egress.request("GET", f"http://127.0.0.1:{port}/", purpose="t")
        assert heads == []


async def test_header_injection_is_refused_before_it_is_sent():
    async with server() as (port, heads), Egress(development(port)) as egress:
        for name, value in (("X", "a\r\nEvil: 1"), ("X\r\nEvil", "1"), ("X", "a\0b")):
            with pytest.raises((EgressBroken, EgressRefused, ValueError)):
                await egress.request("GET", f"http://127.0.0.1:{port}/", headers={name: value}, purpose="t")
        assert heads == []


async def test_keep_alive_is_used():
    async with server(OK) as (port, heads), Egress(development(port)) as egress:
        for _ in range(3):
            await egress.request("GET", f"http://127.0.0.1:{port}/", purpose="t")
        assert len(egress._pool.connections) == 1
    assert len(heads) == 3
