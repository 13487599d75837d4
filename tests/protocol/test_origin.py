"""`Origin`: checked on sockets, streams and every POST and DELETE."""

import pytest
import websockets

from client import Sse, Ws, check_error

FOREIGN = ["https://evil.example", "http://127.0.0.1:1", "http://localhost", "null", "nonsense"]


async def socket_status(server, origin):
    try:
        client = await Ws.open(server, origin=origin)
    except websockets.InvalidStatus as refused:
        body = refused.response.body.decode()
        assert '"PERMISSION_DENIED"' in body, body
        return refused.response.status_code
    await client.close()
    return 101


async def stream_status(server, origin):
    stream = await Sse.open(server, "chat", headers={"Origin": origin})
    if stream.response.status_code != 200:
        check_error(stream.response, "PERMISSION_DENIED")
    await stream.close()
    return stream.response.status_code


@pytest.mark.parametrize("origin", FOREIGN)
async def test_a_foreign_origin(server, http, origin):
    assert await socket_status(server, origin) == 403
    assert await stream_status(server, origin) == 403
    check_error(await http.trigger("chat", "message", {"text": "x"}, headers={"Origin": origin}), "PERMISSION_DENIED")


async def test_the_same_origin(server, http):
    assert await socket_status(server, server.url) == 101
    assert await stream_status(server, server.url) == 200
    assert (await http.trigger("chat", "message", {"text": "x"}, headers={"Origin": server.url})).status_code == 200


async def test_a_get_is_not_checked(http):
    for path in ("/rooms/chat/history", "/health"):
        assert (await http.get(path, headers={"Origin": FOREIGN[0]})).status_code == 200


async def test_an_allow_list(start, http_to):
    server = start(ALLOWED_ORIGINS="https://app.example,http://localhost:5173")
    http = await http_to(server)
    for origin in ("https://app.example", "http://localhost:5173"):
        assert await socket_status(server, origin) == 101
        assert await stream_status(server, origin) == 200
        assert (await http.trigger("chat", "message", {"text": "x"}, headers={"Origin": origin})).status_code == 200
    for origin in ("https://app.example:8443", "http://app.example", "https://app.example.evil.example", "https://sub.app.example"):
        assert await socket_status(server, origin) == 403
        assert await stream_status(server, origin) == 403
        check_error(await http.trigger("chat", "message", {"text": "x"}, headers={"Origin": origin}), "PERMISSION_DENIED")


@pytest.mark.push
async def test_push_is_checked(http):
    headers = {"Origin": FOREIGN[0]}
    check_error(await http.post("/push", json={}, headers=headers), "PERMISSION_DENIED")
    check_error(await http.request("DELETE", "/push", json={}, headers=headers), "PERMISSION_DENIED")
