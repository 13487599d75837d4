"""SIGTERM: what clients are told, and that the process ends in time whatever they do."""

import asyncio
import time

import pytest
import websockets

from client import Ws, check_error
from deadlines import took
from server import SERVER_KEY, Server


async def stopped(server):
    """Exits 0 within 20 s."""
    assert await asyncio.to_thread(server.wait, 20) == (0, "")


async def test_without_clients(start):
    server = start()
    began = time.monotonic()
    server.terminate()
    await stopped(server)
    took("the end", began, 5)


async def test_sockets_are_told_to_reconnect(ws, start):
    server = start()
    clients = [await ws(server) for _ in range(20)]
    for client in clients[:10]:
        await client.join("chat")
    server.terminate()
    delays = set()
    for client in clients:
        frame = await client.next("reconnect")
        assert set(frame) == {"type", "afterMs"} and isinstance(frame["afterMs"], int) and frame["afterMs"] >= 0
        delays.add(frame["afterMs"])
    assert len(delays) > 1, "spread delays"
    for client in clients:
        await client.closed(1012, timeout=20)
    await stopped(server)


async def test_streams_are_told_to_reconnect(sse, start):
    server = start()
    stream = await sse("chat", to=server)
    await stream.joined()
    server.terminate()
    item = await stream.next("dialogue:reconnect")
    assert item.frame["type"] == "reconnect" and item.frame["afterMs"] >= 0
    await stream.ended(timeout=20)
    await stopped(server)


async def test_what_comes_while_draining_is_refused(ws, sse, start, http_to):
    server = start()
    client, http = await ws(server), await http_to(server)
    # Not sent away, it holds up the end until all is asked.
    holding = await ws(f"ws://{server.host}/echo", subprotocols=None, greet=False)
    server.terminate()
    await client.next("reconnect")
    for asked in (
        http.get("/rooms"), http.get("/rooms/chat/history"), http.post("/rooms", json={"roomId": "project:1"}),
        http.delete("/rooms/project:1"), http.trigger("chat", "message", {"text": "x"}),
    ):
        check_error(await asked, "UNAVAILABLE")
    health = await http.get("/health")
    assert health.status_code == 503
    assert isinstance(health.json()["status"], str) and health.json()["status"] != "ok" and isinstance(health.json()["reason"], str)
    with pytest.raises(websockets.InvalidStatus) as refused:
        await Ws.open(server)
    assert refused.value.response.status_code == 503 and b'"UNAVAILABLE"' in refused.value.response.body
    # A browser would never come back from another status than 200; who asks for no stream by name gets one.
    stream = await sse("chat", to=server)
    assert stream.response.status_code == 200
    [item] = await stream.ended()
    assert item["event"] == "dialogue:reconnect" and stream.retries == [str(item.frame["afterMs"])]
    plain = await sse("chat", to=server, headers={"Accept": "*/*"})
    check_error(plain.response, "UNAVAILABLE")
    await holding.close()
    await client.closed(1012, timeout=20)
    await stopped(server)


async def test_accepted_triggers_finish(ws, start):
    server = start()
    client, other = await ws(server), await ws(server)
    await client.join("chat", events=[])
    await other.join("chat")
    for id in range(1, 101):
        await client.send(type="trigger", id=id, roomId="chat", event="message", data={"text": str(id)})
    await client.reply(1)
    server.terminate()
    accepted = [f["seq"] for f in await client.closed(1012, timeout=20) if f["type"] == "ok"]
    seen = [f["seq"] for f in await other.closed(1012, timeout=20) if f["type"] == "event"]
    assert seen == list(range(1, len(seen) + 1)) and len(seen) >= max([1, *accepted])
    await stopped(server)


async def stubborn(server, request):
    """A connection that is opened and never read from again."""
    host, port = server.host.split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1)
    writer.write(request.encode())
    await reader.readexactly(12)
    return writer


@pytest.mark.parametrize("kind", ["socket", "stream", "half a request", "keep-alive"])
async def test_a_stubborn_client_does_not_hold_it_up(start, kind, http_to):
    server = start()
    if kind == "keep-alive":
        client = await http_to(server)
        await client.get("/health")
    elif kind == "half a request":
        host, port = server.host.split(":")
        _, client = await asyncio.open_connection(host, int(port))
        client.write(b"GET /health HTTP/1.1\r\nHost: x\r\n")
        await client.drain()
    elif kind == "stream":
        client = await stubborn(server, "GET /events?room=chat HTTP/1.1\r\nHost: x\r\n\r\n")
    else:
        client = await stubborn(
            server,
            "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
    server.terminate()
    await stopped(server)
    if kind != "keep-alive":
        client.close()


async def test_prints_one_line(start):
    server = start(SERVER_KEY=SERVER_KEY)
    assert isinstance(server, Server) and server.url.startswith("http://127.0.0.1:")
    server.stop()
