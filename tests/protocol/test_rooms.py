"""Joining, leaving, subscriptions, room ids, who sees what."""

import asyncio
import json
import time

import pytest

from client import ID, WAIT, bearer
from deadlines import soon, took


async def test_joined_in_an_empty_room(ws, project):
    client = await ws()
    joined = await client.join(project)
    assert {"type", "id", "roomId", "name", "epoch", "seq", "eventId", "resume"} <= set(joined)
    assert set(joined) <= {"type", "id", "roomId", "name", "epoch", "seq", "eventId", "resume", "replay", "members"}
    assert ID.fullmatch(joined["epoch"])
    assert (joined["seq"], joined["eventId"], joined["resume"]) == (0, "", "fresh")
    assert joined.get("replay", 0) == 0
    assert isinstance(joined.get("members", 0), int)
    assert joined["name"].lower() == "project"


async def test_joined_names_the_head(ws, project):
    client = await ws()
    await client.join(project)
    ok = [await client.say(project) for _ in range(3)][-1]
    late = await ws()
    joined = await late.join(project)
    assert (joined["seq"], joined["eventId"], joined["resume"]) == (3, ok["eventId"], "fresh")
    await late.silence()


@pytest.mark.parametrize("room", [
    "nowhere", "", "Chat", "chat:1", "project", "project:", "project:042", "project:+42", "project:-1", "project: 42",
    "project:42 ", "project:1.0", "project:1e3", "project:0x2a", "project:18446744073709551616", "project:42:1", "project:４２",
    "project:4\n2", "project:" + "1" * 200, "feed", ":", "chat/", "chat\u0000",
])
async def test_no_such_room(ws, room):
    client = await ws()
    await client.fails("ROOM_NOT_FOUND", "join", roomId=room)


@pytest.mark.parametrize("room", ["project:0", "project:18446744073709551615"])
async def test_the_bounds_of_a_key(ws, room):
    await (await ws()).join(room)


@pytest.mark.parametrize("room", ["chat", "limited", "synced", "ticker", "moderated", "quiet", "present", "alerts"])
async def test_rooms_over_websocket(ws, room):
    joined = await (await ws()).join(room)
    assert joined["name"].lower() == room


async def test_instances_are_apart(ws, projects):
    here, there = projects(), projects()
    client = await ws()
    await client.join(here)
    await client.join(there)
    await client.say(here, "one")
    await client.say(there, "two")
    first, second = await client.events(2)
    assert (first["roomId"], first["seq"], second["roomId"], second["seq"]) == (here, 1, there, 1)


# --- not a member ---

@pytest.mark.parametrize("frame", [
    {"type": "trigger", "event": "message", "data": {"text": "x"}},
    {"type": "getHistory"},
    {"type": "leave"},
    {"type": "subscribe", "events": ["*"]},
    {"type": "unsubscribe", "events": ["message"]},
], ids=lambda frame: frame["type"])
async def test_anything_in_a_room_not_joined(ws, project, frame):
    member, client = await ws(), await ws()
    await member.join(project)
    await client.fails("NOT_IN_ROOM", roomId=project, **frame)
    await client.join(project)
    await client.leave(project)
    await client.fails("NOT_IN_ROOM", roomId=project, **frame)


async def test_left(ws, project):
    client, other = await ws(), await ws()
    await client.join(project)
    await other.join(project)
    assert await client.request("leave", id="bye", roomId=project) == {"type": "left", "id": "bye", "roomId": project}
    await other.say(project)
    await client.silence()


async def test_who_leaves_can_come_back(ws, project):
    client = await ws()
    first = await client.join(project)
    await client.leave(project)
    second = await client.join(project)
    assert second["resume"] == "fresh" and second["epoch"] == first["epoch"]
    await client.say(project, "again")
    assert await client.texts(1) == ["again"]


# --- subscriptions ---

MOVED = {"task": 7, "column": "done"}


async def both(sender, room, mark):
    """Triggers one event of each kind, then a last one of each that ends the test's reading."""
    await sender.say(room, mark)
    await sender.trigger(room, "task-moved", MOVED | {"column": mark})


def names(events):
    return [event["event"] for event in events]


async def test_all_unless_declared(ws, project):
    client = await ws()
    await client.join(project)
    await both(client, project, "a")
    assert names(await client.events(2)) == ["message", "task-moved"]


@pytest.mark.parametrize("events, expected", [
    (["*"], ["message", "task-moved", "message", "task-moved"]),
    (["message"], ["message", "message"]),
    (["task-moved"], ["task-moved", "task-moved"]),
    (["message", "task-moved"], ["message", "task-moved", "message", "task-moved"]),
    (["message", "message"], ["message", "message"]),
    ([], []),
])
async def test_subscriptions_of_a_join(ws, project, events, expected):
    client, sender = await ws(), await ws()
    await client.join(project, events=events)
    await sender.join(project, events=[])
    await both(sender, project, "a")
    await both(sender, project, "b")
    assert names(await client.events(len(expected))) == expected
    await client.silence(0.1)
    await sender.silence(0.1)


async def test_subscribe_and_unsubscribe(ws, project):
    client = await ws()
    await client.join(project, events=[])
    assert set(await client.expect("ok", "subscribe", roomId=project, events=["task-moved"])) == {"type", "id"}
    await both(client, project, "a")
    await client.expect("ok", "subscribe", roomId=project, events=["*"])
    await both(client, project, "b")
    await client.expect("ok", "unsubscribe", roomId=project, events=["message"])
    await both(client, project, "c")
    await client.expect("ok", "unsubscribe", roomId=project, events=["*"])
    await both(client, project, "d")
    await client.expect("ok", "subscribe", roomId=project, events=["message"])
    await both(client, project, "e")
    events = await client.events(5)
    assert [(e["event"], e["data"].get("text", e["data"].get("column"))) for e in events] == [
        ("task-moved", "a"), ("message", "b"), ("task-moved", "b"), ("task-moved", "c"), ("message", "e"),
    ]
    await client.silence(0.1)


async def test_unsubscribing_twice_or_subscribing_twice_is_no_error(ws, project):
    client = await ws()
    await client.join(project)
    for type in ("subscribe", "subscribe", "unsubscribe", "unsubscribe"):
        await client.expect("ok", type, roomId=project, events=["message"])


@pytest.mark.parametrize("events", [["typing"], ["message", "nothing"], [""], ["Message"], ["**"]])
async def test_events_that_the_room_does_not_carry(ws, project, events):
    client = await ws()
    await client.fails("EVENT_NOT_ALLOWED", "join", roomId=project, events=events)
    await client.fails("NOT_IN_ROOM", "getHistory", roomId=project)
    await client.join(project, events=["message"])
    await client.fails("EVENT_NOT_ALLOWED", "subscribe", roomId=project, events=events)
    await client.fails("EVENT_NOT_ALLOWED", "unsubscribe", roomId=project, events=events)
    await both(client, project, "a")
    await client.say(project, "last")
    assert await client.texts(2) == ["a", "last"]


async def quiet_pair(ws, **join):
    client, sender = await ws(), await ws()
    await client.join("quiet", **join)
    await sender.join("quiet", events=[])

    async def both():
        await sender.trigger("quiet", "typing", {"active": True})
        await sender.say("quiet")
    return client, both


async def test_the_declared_default(ws):
    client, both = await quiet_pair(ws)
    await both()
    assert names(await client.events(1)) == ["message"]
    await client.expect("ok", "subscribe", roomId="quiet", events=["typing"])
    await both()
    assert names(await client.events(2)) == ["typing", "message"]


@pytest.mark.parametrize("events", [["*"], ["typing", "message"]])
async def test_a_join_overrides_the_declared_default(ws, events):
    client, both = await quiet_pair(ws, events=events)
    await both()
    assert names(await client.events(2)) == ["typing", "message"]


# --- joining again ---

async def test_joining_again_keeps_or_replaces_the_subscriptions(ws, project):
    client = await ws()
    await client.join(project, events=["task-moved"])
    await both(client, project, "a")
    joined = await client.join(project)
    assert (joined["resume"], joined["seq"]) == ("fresh", 2)
    await both(client, project, "b")
    await client.join(project, events=["message"])
    await both(client, project, "c")
    events = await client.events(3)
    assert [(e["event"], e["seq"]) for e in events] == [("task-moved", 2), ("task-moved", 4), ("message", 5)]
    await client.silence(0.1)


async def test_joining_again_makes_no_second_member(ws, project):
    client = await ws()
    await client.join(project)
    await client.join(project)
    await client.say(project)
    await client.say(project)
    assert [e["seq"] for e in await client.events(2)] == [1, 2]
    await client.leave(project)
    await client.fails("NOT_IN_ROOM", "getHistory", roomId=project)


# --- history on join ---

async def test_history_on_join(ws, own):
    client = await ws(own)
    await client.join("synced", events=[])
    assert (await client.next("history"))["events"] == []
    for n in range(15):
        await client.say("synced", f"m{n}")
    late = await ws(own)
    joined = await late.request("join", roomId="synced")
    assert joined["resume"] == "fresh"
    history = await late.next("history")
    assert "id" not in history and history["roomId"] == "synced" and history["more"] is True
    assert [e["data"]["text"] for e in history["events"]] == [f"m{n}" for n in range(5, 15)]
    assert [e["seq"] for e in history["events"]] == list(range(6, 16))
    await client.say("synced", "live")
    assert await late.texts(1) == ["live"]


async def test_history_on_join_follows_the_subscriptions(ws, own):
    client = await ws(own)
    await client.join("synced")
    await client.next("history")
    await client.say("synced")
    await client.events(1)
    other = await ws(own)
    await other.join("synced", events=[])
    assert (await other.next("history"))["events"] == []


async def test_history_on_join_after_fresh_and_lost_only(ws, own):
    client = await ws(own)
    joined = await client.join("synced", events=["*"])
    await client.next("history")
    await client.say("synced", "a")
    await client.events(1)
    again = await ws(own)
    position = {"epoch": joined["epoch"], "seq": 0, "eventId": ""}
    assert (await again.join("synced", since=position))["resume"] == "complete"
    assert await again.texts(1) == ["a"]
    await again.silence()
    lost = await ws(own)
    assert (await lost.join("synced", since=position | {"epoch": "another"}))["resume"] == "lost"
    assert [e["data"]["text"] for e in (await lost.next("history"))["events"]] == ["a"]


# --- capacity: connections ---

async def room_in_small(client):
    """A connection that ended gives its place back, if not in the same instant."""
    async def join():
        while (await client.request("join", roomId="small"))["type"] != "joined":
            await asyncio.sleep(0.02)

    await soon("room in small", join(), WAIT)


async def test_capacity(ws, own):
    one, two, three = await ws(own), await ws(own), await ws(own)
    await one.join("small")
    await one.say("small", "before")
    await two.join("small")
    await three.fails("ROOM_FULL", "join", roomId="small")
    await three.fails("NOT_IN_ROOM", "getHistory", roomId="small")
    await one.say("small", "secret")
    await three.silence()
    await one.join("small")
    await two.leave("small")
    joined = await three.join("small")
    assert joined["seq"] == 2
    await two.fails("ROOM_FULL", "join", roomId="small")
    await three.close()
    await room_in_small(two)


async def full_of_ones_own(client):
    """`small` is full, though the user's own connections are in it: they answer the server's pings."""
    began = time.monotonic()
    frame = await client.request("join", roomId="small")
    if frame["type"] == "joined":
        # They have 2 s for that.
        took("the pongs", began, 2)
    assert (frame["type"], frame.get("code")) == ("error", "ROOM_FULL"), frame


async def test_capacity_counts_connections_of_one_user(own, ws):
    one = await ws(own)
    token = {"additional_headers": {"Authorization": "Bearer " + one.connected["anonymousToken"]}}
    two, three = await ws(own, **token), await ws(own, **token)
    assert one.user == two.user == three.user
    await one.join("small")
    await two.join("small")
    await full_of_ones_own(three)


async def dead_member(server, token, room):
    """A socket in a room that answers nothing from then on, not even a ping."""
    host, port = server.host.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    )
    join = json.dumps({"type": "join", "roomId": room}).encode()
    writer.write(bytes([0x81, 0x80 | len(join), 0, 0, 0, 0]) + join)
    await soon("joined", reader.readuntil(b'"type":"joined"'), WAIT)
    return writer


async def test_a_dead_connection_of_ones_own_counts_in_no_capacity(own, ws):
    one, two, other = await ws(own), await ws(own), await ws(own)
    token = one.connected["anonymousToken"]
    dead = await dead_member(own, token, "small")
    await two.join("small")
    await other.fails("ROOM_FULL", "join", roomId="small")
    await one.join("small")
    # A living one counts.
    back = await ws(own, additional_headers=bearer(token))
    await full_of_ones_own(back)
    dead.close()


async def test_capacity_counts_streams(own, ws, sse):
    stream, client = await sse("small", to=own), await ws(own)
    await stream.joined()
    await client.join("small")
    for rooms in (["small"], ["chat", "small"]):
        [item] = await (await sse(*rooms, to=own)).ended()
        assert item["event"] == "dialogue:error" and item.frame["code"] == "ROOM_FULL"
        refused = await sse(*rooms, to=own, headers={"Accept": "*/*"})
        assert refused.response.status_code == 409 and refused.response.json()["code"] == "ROOM_FULL"
    await (await ws(own)).fails("ROOM_FULL", "join", roomId="small")
    await stream.close()
    await room_in_small(await ws(own))
