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


@pytest.mark.parametrize("origin, host, same", [
    ("https://acme.example", "acme.example:443", True),
    ("http://acme.example", "acme.example:80", True),
    ("https://acme.example", "acme.example", True),
    ("https://acme.example", "Acme.Example:443", True),
    ("https://acme.example:8443", "acme.example:8443", True),
    ("https://acme.example", "acme.example:80", False),
    ("http://acme.example", "acme.example:443", False),
    ("https://acme.example:8443", "acme.example", False),
    ("https://acme.example.evil.example", "acme.example:443", False),
])
async def test_the_default_port_is_no_port(server, http, origin, host, same):
    headers = {"Origin": origin, "Host": host}
    response = await http.trigger("chat", "message", {"text": "x"}, headers=headers)
    assert response.status_code == (200 if same else 403), response.text
    stream = await Sse.open(server, "chat", headers=headers)
    assert stream.response.status_code == response.status_code
    await stream.close()


async def test_what_a_client_says_of_the_host_does_not_count(http):
    headers = {"Origin": FOREIGN[0], "X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
    check_error(await http.trigger("chat", "message", {"text": "x"}, headers=headers), "PERMISSION_DENIED")


async def test_an_allow_list_has_default_ports_too(start, http_to):
    http = await http_to(start(ALLOWED_ORIGINS="https://app.example:443"))
    headers = {"Origin": "https://app.example"}
    assert (await http.trigger("chat", "message", {"text": "x"}, headers=headers)).status_code == 200


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


async def test_telemetry_does_not_keep_a_page_from_asking(start, http_to):
    origin = "https://app.example"
    http = await http_to(start(ALLOWED_ORIGINS=origin))
    wanted = ["authorization", "content-type", "idempotency-key", "last-event-id", "traceparent", "tracestate", "baggage"]
    for method, path in [("POST", "/rooms"), ("DELETE", "/rooms/project:1"), ("GET", "/events"), ("POST", "/rooms/chat/events/message")]:
        headers = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": ",".join(wanted)}
        answer = await http.options(path, headers=headers)
        assert answer.status_code in (200, 204)
        allowed = {name.strip() for name in answer.headers["Access-Control-Allow-Headers"].lower().split(",")}
        assert set(wanted) <= allowed
        assert method in answer.headers["Access-Control-Allow-Methods"]
        assert answer.headers["Access-Control-Allow-Origin"] == origin
    exposed = (await http.get("/rooms", headers={"Origin": origin})).headers["Access-Control-Expose-Headers"].lower()
    assert "retry-after" in exposed
