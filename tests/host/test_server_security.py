"""Who may ask the server, and the policy on its answers."""

import aiohttp
import pytest

from wdlora.host.server.security import CONTENT_SECURITY_POLICY, allowed, is_active, is_loopback


@pytest.mark.parametrize(
    ("headers", "loopback_only", "good"),
    [
        ({"Host": "127.0.0.1:8188"}, True, True),
        ({"Host": "localhost:8188", "Origin": "http://localhost:8188"}, True, True),
        ({"Host": "[::1]:8188", "Origin": "http://[::1]:8188"}, True, True),
        ({"Host": "127.0.0.1:8188", "Origin": "http://127.0.0.1:9999"}, True, False),
        ({"Host": "127.0.0.1:8188", "Origin": "http://evil.example"}, True, False),
        ({"Host": "localhost:8188", "Origin": "http://127.0.0.1:8188"}, True, False),
        ({"Host": "127.0.0.1:8188", "Origin": "null"}, True, False),
        ({"Host": "127.0.0.1:8188", "Sec-Fetch-Site": "cross-site"}, True, False),
        ({"Host": "127.0.0.1:8188", "Sec-Fetch-Site": "same-origin"}, True, True),
        ({"Host": "evil.example:8188", "Origin": "http://evil.example:8188"}, True, False),  # a rebound name
        ({"Host": "workstation:8188", "Origin": "http://workstation:8188"}, False, True),
        ({"Host": "127.0.0.1:8188", "Origin": "http://evil.example"}, False, False),
        ({"Host": "127.0.0.1:8188", "Origin": "http://127.0.0.1"}, True, False),  # its page is on port 80
        ({"Host": "127.0.0.1", "Origin": "http://127.0.0.1:80"}, True, True),
        ({"Host": "localhost", "Origin": "https://localhost"}, True, True),  # behind a proxy that speaks TLS
        ({"Host": "localhost:443", "Origin": "https://localhost"}, True, True),
        ({"Host": "localhost:443", "Origin": "http://localhost"}, True, False),
        ({"Host": "LocalHost:8188", "Origin": "http://localhost:8188"}, True, True),
        ({"Host": "192.168.0.5:8188", "Origin": "http://evil.example"}, False, False),
        ({"Host": "192.168.0.5:8188", "Origin": "http://192.168.0.5:8188"}, False, True),
        ({"Host": "192.168.0.5:8188", "Origin": "http://192.168.0.5:8189"}, False, False),
        ({"Host": "192.168.0.5:8188", "Origin": "null"}, False, False),
        ({"Host": "192.168.0.5:8188", "Origin": "chrome-extension://abc"}, False, False),
        ({"Host": "192.168.0.5:8188", "Origin": ""}, False, False),
        ({"Host": "[bad"}, True, False),
        ({"Host": "[::1].evil.example:8188"}, True, False),
        ({"Host": "[::1].evil.example:8188"}, False, False),
        ({"Host": "evil.example\\@127.0.0.1"}, False, False),
        ({"Host": "a@127.0.0.1:8188"}, False, False),
        ({"Host": "127.0.0.1:99999"}, True, False),
        ({"Host": "[:::]:8188"}, False, False),
        ({"Host": "a/b"}, False, False),
        ({"Host": ""}, False, False),
        ({}, False, False),
        ({}, True, False),
    ],
)
def test_who_may_ask(headers, loopback_only, good):
    assert allowed(headers, loopback_only) is good


def test_another_sites_page_is_refused(ask, graph):
    async def scenario(client, _):
        for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Host": "evil.example"}):
            answer = await client.post("/prompt", json={"prompt": graph}, headers=headers)
            assert answer.status == 403
            assert answer.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await client.ws_connect("/ws", headers={"Origin": "http://evil.example"})
        assert await (await client.get("/history")).json() == {}

    ask(scenario)


def test_the_policy_is_on_errors_too(ask):
    async def scenario(client, _):
        answer = await client.get("/nowhere")
        assert answer.status == 404 and answer.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY

    ask(scenario)


def test_names():
    assert is_loopback("127.8.9.1") and is_loopback("::1") and is_loopback("localhost")
    assert not is_loopback("10.0.0.1") and not is_loopback("example.org") and not is_loopback(None)
    assert is_active("text/html; charset=utf-8") and is_active("image/svg+xml") and is_active("TEXT/XML")
    assert not is_active("image/png") and not is_active("application/json")
