"""`GET /ws`: the handshake, ids and replies, bad frames, frame sizes, closing."""

import asyncio
import json

import pytest
import websockets

from client import ID, WAIT, Ws
from deadlines import soon


# --- the handshake ---

@pytest.mark.parametrize("offered, chosen", [
    (["dialogue.v1"], "dialogue.v1"),
    (None, None),
    (["dialogue.v9", "dialogue.v1"], "dialogue.v1"),
])
async def test_subprotocol(ws, offered, chosen):
    client = await ws(subprotocols=offered)
    assert client.socket.subprotocol == chosen
    await client.alive()


@pytest.mark.parametrize("offered", [["dialogue.v9"], ["chat", "graphql-ws"], ["dialogue.token.YWJj"]])
async def test_only_unknown_subprotocols_are_refused(server, offered):
    with pytest.raises(websockets.InvalidStatus) as refused:
        await Ws.open(server, subprotocols=offered)
    assert refused.value.response.status_code == 400


async def test_connected_comes_first(ws):
    first, second = await ws(), await ws()
    for client in (first, second):
        connected = client.connected
        assert {"type", "clientId", "userId", "protocol", "schema", "anonymousToken"} == set(connected)
        assert connected["protocol"] == 1
        assert ID.fullmatch(connected["clientId"])
        assert connected["userId"].startswith("anon-")
        assert isinstance(connected["schema"], str) and connected["schema"]
        assert isinstance(connected["anonymousToken"], str) and connected["anonymousToken"]
    assert first.connected["schema"] == second.connected["schema"]
    for field in ("clientId", "userId", "anonymousToken"):
        assert first.connected[field] != second.connected[field]


# --- ids and replies ---

@pytest.mark.parametrize("id", ["a", "", "x" * 64, "é" * 32, "with \"quotes\" and \n", 0, 7, -1, 2**53 + 1, 2**63 - 1])
async def test_a_reply_echoes_the_id(ws, project, id):
    client = await ws()
    assert (await client.request("join", id=id, roomId=project))["type"] == "joined"
    assert (await client.request("trigger", id=id, roomId=project, event="message", data={"text": "x"}))["type"] == "ok"
    assert (await client.request("no-such-type", id=id))["code"] == "INVALID_REQUEST"
    assert (await client.request("leave", id=id, roomId=project))["type"] == "left"


@pytest.mark.parametrize("id", ["x" * 65, "é" * 33, 1.5, True, None, [1], {"a": 1}])
async def test_a_bad_id_is_answered_without_one(ws, project, id):
    client = await ws()
    await client.send(type="join", id=id, roomId=project)
    error = await client.next("error")
    assert error["code"] == "INVALID_REQUEST" and "id" not in error
    await client.fails("NOT_IN_ROOM", "getHistory", roomId=project)


async def test_without_an_id_ok_is_left_out_and_other_replies_have_none(ws, project):
    client = await ws()
    await client.send(type="join", roomId=project)
    assert "id" not in await client.next("joined")
    await client.send(type="unsubscribe", roomId=project, events=["*"])
    await client.send(type="trigger", roomId=project, event="message", data={"text": "a"})
    await client.send(type="getHistory", roomId=project)
    history = await client.next("history")
    assert "id" not in history and [e["data"] for e in history["events"]] == [{"text": "a"}]
    await client.send(type="trigger", roomId=project, event="message")
    error = await client.next("error")
    assert error["code"] == "INVALID_REQUEST" and "id" not in error
    await client.send(type="leave", roomId=project)
    left = await client.next("left")
    assert left == {"type": "left", "roomId": project}


async def test_every_request_gets_exactly_one_reply(ws, project):
    client = await ws()
    await client.join(project, events=[])
    for id in range(100, 150):
        await client.send(type="trigger", id=id, roomId=project, event="message", data={"text": str(id)})
    replies = [await client.next("ok") for _ in range(50)]
    assert sorted(reply["id"] for reply in replies) == list(range(100, 150))
    await client.silence(0.1)


async def test_unknown_fields_of_a_frame_are_ignored(ws, project):
    client = await ws()
    await client.join(project, someday={"a": 1})
    await client.say(project, someday=True)


# --- bad frames: an error, and the connection lives on ---

@pytest.mark.parametrize("text", ["", "{", "hello", "[]", "5", "null", '"join"', "{}{}", '{"type":"join"', "\x00", "[" * 20000])
async def test_text_that_is_no_object(ws, text):
    client = await ws()
    await client.socket.send(text)
    error = await client.next("error")
    assert error["code"] == "INVALID_REQUEST" and "id" not in error
    await client.alive()


@pytest.mark.parametrize("data", [b"", b"{}", json.dumps({"type": "listRooms", "id": 1}).encode()])
async def test_a_binary_frame(ws, data):
    client = await ws()
    await client.socket.send(data)
    error = await client.next("error")
    assert error["code"] == "INVALID_REQUEST" and "id" not in error
    await client.alive()


async def test_invalid_utf8_is_no_text(ws):
    client = await ws()
    await client.socket.send(b"\xff\xfe", text=True)
    await client.closed(1007)


@pytest.mark.parametrize("frame", [
    {}, {"type": None}, {"type": 5}, {"type": "JOIN"}, {"type": "event"}, {"type": "connected"}, {"type": "ok"}, {"type": ""},
])
async def test_an_unknown_type_is_answered_with_the_id(ws, frame):
    client = await ws()
    await client.send(id="x", **frame)
    assert (await client.reply("x"))["code"] == "INVALID_REQUEST"
    await client.alive()


def nested(levels):
    return "[" * levels + "]" * levels


@pytest.mark.parametrize("field", [
    f'"data":{nested(64)}', f'"data":{nested(5_000)}', f'"pad":{nested(64)}', f'"meta":{{"a":{nested(63)}}}', '"\\ud800":1',
], ids=lambda field: field[:12])
async def test_a_fault_of_a_request_is_answered_with_its_id(ws, project, field):
    client = await ws()
    await client.join(project)
    frame = '{%s,"id":"x","type":"trigger","roomId":"%s","event":"nope"}' % (field, project)
    await client.socket.send(frame)
    assert (await client.reply("x"))["type"] == "error"
    await client.alive()


async def test_too_deep_a_frame_is_not_carried_out(ws, project):
    client = await ws()
    await client.join(project)
    frame = '{"type":"trigger","id":%d,"roomId":"%s","event":"message","data":{"text":"x","more":%s}}'
    await client.socket.send(frame % (1, project, nested(62)))
    assert (await client.reply(1))["type"] == "ok", "64 levels: the frame, its data, and 62"
    await client.socket.send(frame % (2, project, nested(63)))
    assert (await client.reply(2))["code"] == "INVALID_REQUEST"


async def test_of_a_name_twice_the_last_counts(ws, project):
    client = await ws()
    await client.join(project)
    trigger = '"type":"trigger","roomId":"%s","event":"message"' % project
    for frame in (
        '{"id":1,"type":"join","roomId":"nope","id":"a","event":5,%s,"data":5,"data":{"text":"x"}}',
        '{"id":"a","\\u0069d":"a",%s,"data":{"text":"y","text":"x"}}',
        '{"id":"a",%s,"key":"\\ud800","key":null,"meta":5,"meta":{"a":1},"data":{"text":5,"text":"x"}}',
    ):
        await client.socket.send(frame % trigger)
        assert (await client.reply("a"))["type"] == "ok", frame
        assert (await client.next("event"))["data"] == {"text": "x"}
    await client.socket.send('{"id":"a","id":null,"type":"leave"}')
    error = await client.next("error")
    assert error["code"] == "INVALID_REQUEST" and "id" not in error


@pytest.mark.parametrize("since", [
    ["k2f9", 41, "x"], {"epoch": "k=2", "seq": 1}, {"epoch": "k\nid: x", "seq": 1}, {"epoch": "k" * 65, "seq": 1},
    {"epoch": "k", "seq": 1, "eventId": "a b"}, {"epoch": "k", "seq": 1, "eventId": "é"},
    {"epoch": "k", "seq": 1, "eventId": "e" * 65},
], ids=json.dumps)
async def test_an_ill_formed_position(ws, project, since):
    client = await ws()
    error = await client.fails("INVALID_REQUEST", "join", roomId=project, since=since)
    assert "since" in error["message"], error
    await client.fails("NOT_IN_ROOM", "getHistory", roomId=project)


async def test_the_longest_position(ws, project):
    client = await ws()
    since = {"epoch": "k" * 64, "seq": 1, "eventId": "-_" * 32}
    assert (await client.join(project, since=since))["resume"] == "lost"


@pytest.mark.parametrize("named, frame", [
    ("roomId", {"type": "join"}),
    ("roomId", {"type": "join", "roomId": 5}),
    ("roomId", {"type": "join", "roomId": None}),
    ("events", {"type": "join", "events": "message"}),
    ("events", {"type": "join", "events": [1]}),
    ("events", {"type": "join", "events": {"message": True}}),
    ("since", {"type": "join", "since": 41}),
    ("since", {"type": "join", "since": "k2f9.41"}),
    ("seq", {"type": "join", "since": {"epoch": "k2f9"}}),
    ("seq", {"type": "join", "since": {"epoch": "k2f9", "seq": "41"}}),
    ("seq", {"type": "join", "since": {"epoch": "k2f9", "seq": -1}}),
    ("epoch", {"type": "join", "since": {"seq": 41}}),
    ("epoch", {"type": "join", "since": {"epoch": 9, "seq": 41}}),
    ("roomId", {"type": "leave"}),
    ("events", {"type": "subscribe"}),
    ("events", {"type": "subscribe", "events": "*"}),
    ("events", {"type": "unsubscribe", "events": [None]}),
    ("roomId", {"type": "subscribe", "events": ["*"]}),
    ("event", {"type": "trigger", "data": {"text": "x"}}),
    ("event", {"type": "trigger", "event": 5, "data": {"text": "x"}}),
    ("data", {"type": "trigger", "event": "message"}),
    ("roomId", {"type": "trigger", "event": "message", "data": {"text": "x"}}),
    ("key", {"type": "trigger", "event": "message", "data": {"text": "x"}, "key": 5}),
    ("meta", {"type": "trigger", "event": "message", "data": {"text": "x"}, "meta": "x"}),
    ("meta", {"type": "trigger", "event": "message", "data": {"text": "x"}, "meta": [1]}),
    ("limit", {"type": "getHistory", "limit": "50"}),
    ("limit", {"type": "getHistory", "limit": 0}),
    ("limit", {"type": "getHistory", "limit": 201}),
    ("limit", {"type": "getHistory", "limit": -1}),
    ("limit", {"type": "getHistory", "limit": 1.5}),
    ("before", {"type": "getHistory", "before": "41"}),
    ("before", {"type": "getHistory", "before": -1}),
    ("event", {"type": "getHistory", "event": 5}),
    ("token", {"type": "auth"}),
    ("token", {"type": "auth", "token": 5}),
], ids=json.dumps)
async def test_a_missing_or_ill_typed_field_is_named(ws, project, named, frame):
    client = await ws()
    if named != "roomId":
        if frame["type"] != "join":
            await client.join(project)
        frame = {"roomId": project} | frame
    error = await client.fails("INVALID_REQUEST", **frame)
    assert named in error["message"], error
    await client.alive()


# --- frame sizes ---

def join_of(size):
    text = json.dumps({"type": "no-such-type", "id": 1, "pad": ""})
    return text[:-2] + "x" * (size - len(text)) + text[-2:]


async def test_a_frame_at_the_limit_is_read(ws):
    client = await ws()
    await client.socket.send(join_of(64 * 1024))
    assert (await client.reply(1))["code"] == "INVALID_REQUEST"


async def test_a_frame_over_the_limit_closes_with_1009(ws):
    client = await ws()
    await client.socket.send(join_of(64 * 1024 + 1))
    await client.closed(1009)


async def test_a_long_frame_over_the_limit_still_gets_its_close_frame(ws):
    client = await ws()
    sending = asyncio.create_task(client.socket.send("x" * (8 << 20)))
    await client.closed(1009)
    await soon("the end of the sending", asyncio.gather(sending, return_exceptions=True), WAIT)


async def test_the_limit_is_configured(ws, start):
    server = start(MAX_FRAME="2048")
    client = await ws(server)
    await client.socket.send(join_of(2048))
    assert (await client.reply(1))["code"] == "INVALID_REQUEST"
    await client.socket.send(join_of(2049))
    await client.closed(1009)


async def test_the_limit_counts_a_whole_message(ws, start):
    client = await ws(start(MAX_FRAME="2048"))
    text = join_of(2000)
    await client.socket.send([text[:700], text[700:1400], text[1400:]])
    assert (await client.reply(1))["code"] == "INVALID_REQUEST"
    await client.socket.send(["x" * 1000] * 3)
    await client.closed(1009)


# --- the socket itself ---

async def test_ping_is_answered(ws):
    client = await ws()
    await soon("a pong", await client.socket.ping(b"payload"), WAIT)


async def test_a_client_closes(ws):
    client = await ws()
    await soon("the close", client.socket.close(1000), WAIT)
    assert client.socket.close_code == 1000


async def test_sockets_are_independent(ws, project):
    one, two = await ws(), await ws()
    await one.join(project)
    await two.fails("NOT_IN_ROOM", "trigger", roomId=project, event="message", data={"text": "x"})
    await one.close()
    await two.alive()


@pytest.mark.parametrize("messages", [["text", b"binary"], ["x" * 70_000, b"\x00" * 70_000], [""]])
async def test_echo_sends_everything_back(ws, server, messages):
    socket = (await ws(f"ws://{server.host}/echo", subprotocols=None, greet=False)).socket

    async def echo():
        for message in messages:
            await socket.send(message)
            assert await socket.recv() == message

    await soon("all messages back", echo(), WAIT)
