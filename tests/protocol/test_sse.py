"""`GET /events`: the stream's framing, its ids, several rooms, resuming."""

import pytest

from client import bearer, check_error, since
from deadlines import soon
from server import SERVER_KEY


def position(joined):
    """The position in a `joined` frame, as an id lists it."""
    return "{epoch}.{seq}.{eventId}".format(**joined)


def refused(stream, code):
    check_error(stream.response, code)


# --- the response ---

async def test_headers(sse, project):
    stream = await sse(project)
    headers = stream.response.headers
    assert headers["Content-Type"].split(";")[0] == "text/event-stream"
    assert headers["Cache-Control"] == "no-cache, no-transform"
    assert headers["X-Accel-Buffering"] == "no"


async def test_retry_once(sse, ws, projects):
    one, two = projects(), projects()
    stream, client = await sse(one, two), await ws()
    await stream.joined()
    await stream.joined()
    await client.join(one)
    for n in range(3):
        await client.say(one, str(n))
    await stream.events(3)
    assert len(stream.retries) == 1 and stream.retries[0].isdigit()


async def test_retry_is_spread(sse, project):
    retries = {int((await retried(await sse(project)))[0]) for _ in range(8)}
    assert len(retries) > 1 and 0 < min(retries) and max(retries) <= 10_000


async def retried(stream):
    await stream.joined()
    return stream.retries


async def test_a_passing_failure_is_a_stream_that_ends(sse, ws, start):
    """A native EventSource gives up for good at any status but 200."""
    server = start()
    for _ in range(2):
        await (await ws(server)).join("small")
    for accept in ("text/event-stream", "text/html, Text/Event-Stream;q=0.9"):
        stream = await sse("small", to=server, headers={"Accept": accept})
        assert stream.response.status_code == 200
        assert stream.response.headers["Content-Type"].split(";")[0] == "text/event-stream"
        assert stream.response.headers["Cache-Control"] == "no-cache, no-transform"
        [item] = await stream.ended()
        assert item["event"] == "dialogue:error" and "id" not in item and item.frame["code"] == "ROOM_FULL"
        assert len(stream.retries) == 1 and 0 < int(stream.retries[0]) <= 10_000
    for accept in ("*/*", "text/*", "application/json"):
        refused(await sse("small", to=server, headers={"Accept": accept}), "ROOM_FULL")
    # What isn't passing has its status, whatever is asked for.
    refused(await sse("nowhere", to=server), "ROOM_NOT_FOUND")


async def test_a_comment_every_15_seconds(sse, project):
    stream = await sse(project)
    await stream.joined()
    stream.comment.clear()
    await soon("a comment", stream.comment.wait(), 17)


# --- events ---

async def test_joined_in_an_empty_room(sse, project):
    stream = await sse(project)
    item = await stream.joined()
    joined = item.frame
    assert joined["type"] == "joined" and "id" not in joined
    assert (joined["roomId"], joined["resume"], joined["seq"], joined["eventId"]) == (project, "fresh", 0, "")
    assert item.positions == {project: {"epoch": joined["epoch"], "seq": 0, "eventId": ""}}


async def test_an_event_is_the_frame_of_the_websocket(sse, ws, project):
    stream, client = await sse(project), await ws()
    joined = (await stream.joined()).frame
    assert since(await client.join(project)) == since(joined)
    await client.say(project, "hello", meta={"a": 1})
    await client.trigger(project, "task-moved", {"task": 1, "column": "done"})
    for name in ("message", "task-moved"):
        item, frame = await stream.next(name), await client.next("event")
        assert item.frame == frame
        assert item.positions == {project: {"epoch": joined["epoch"], "seq": frame["seq"], "eventId": frame["eventId"]}}


async def test_an_id_of_one_room_is_as_written(sse, ws):
    stream, client = await sse("chat"), await ws()
    joined = (await stream.joined()).frame
    await client.join("chat")
    ok = await client.say("chat")
    item = await stream.next("message")
    assert item["id"] == f"chat={joined['epoch']}.{ok['seq']}.{ok['eventId']}"


async def test_an_ephemeral_event_moves_no_position(sse, ws):
    stream, client = await sse("chat"), await ws()
    joined = await stream.joined()
    await client.join("chat")
    await client.trigger("chat", "typing", {"active": True})
    item = await stream.next("typing")
    assert "seq" not in item.frame and item.frame["data"] == {"active": True}
    if "id" in item:
        assert item.positions == joined.positions


async def test_only_the_events_asked_for(sse, ws, project):
    stream, client = await sse(project, events=["task-moved"]), await ws()
    both = await sse(project, events=["message", "task-moved"])
    for one in (stream, both):
        await one.joined()
    await client.join(project)
    await client.say(project)
    await client.trigger(project, "task-moved", {"task": 1, "column": "done"})
    assert [e["seq"] for e in await stream.events(1)] == [2]
    assert [e["seq"] for e in await both.events(2)] == [1, 2]


async def test_a_room_of_server_events_only(sse, backend):
    stream = await sse("feed")
    await stream.joined()
    response = await backend.trigger("feed", "new-post", {"title": "News"})
    assert response.status_code == 200
    item = await stream.next("new-post")
    assert item.frame["data"] == {"title": "News"}
    assert (item.frame["server"], item.frame["from"]) == (True, "system")


# --- what a stream is refused ---

async def test_no_room(sse):
    refused(await sse(), "INVALID_REQUEST")


@pytest.mark.parametrize("room", ["nowhere", "project", "project:042", "project:+42", "chat:1", "limited", "members", "quiet", "alerts"])
async def test_no_such_room_over_this_channel(sse, room):
    refused(await sse(room), "ROOM_NOT_FOUND")
    refused(await sse("chat", room), "ROOM_NOT_FOUND")


@pytest.mark.parametrize("events", [["typing"], ["message", "nothing"]])
async def test_events_that_the_room_does_not_carry(sse, project, events):
    refused(await sse(project, events=events), "EVENT_NOT_ALLOWED")


async def test_a_bad_token(sse, project):
    refused(await sse(project, headers=bearer("nonsense")), "UNAUTHENTICATED")
    refused(await sse(project, headers=bearer(SERVER_KEY)), "UNAUTHENTICATED")


# --- several rooms ---

async def test_sixteen_rooms_at_most(sse, projects):
    rooms = [projects() for _ in range(17)]
    stream = await sse(*rooms[:16])
    assert {(await stream.joined()).frame["roomId"] for _ in range(16)} == set(rooms[:16])
    response = (await sse(*rooms)).response
    assert response.status_code in (400, 409) and response.json()["code"] in ("INVALID_REQUEST", "TOO_MANY")


async def test_the_id_lists_the_position_of_each_room(sse, ws, projects):
    rooms = [projects() for _ in range(3)]
    client = await ws()
    for room in rooms:
        await client.join(room, events=[])
    stream = await sse(*rooms)
    heads = {}
    for _ in rooms:
        item = await stream.joined()
        heads[item.frame["roomId"]] = since(item.frame)
    assert set(heads) == set(rooms) and item.positions == heads
    for room in (rooms[1], rooms[0], rooms[1]):
        ok = await client.say(room)
        heads[room] |= {"seq": ok["seq"], "eventId": ok["eventId"]}
        item = await stream.next("message")
        assert item.frame["roomId"] == room and item.positions == heads


async def test_several_rooms_resume_each(sse, ws, projects):
    one, two = projects(), projects()
    client, stream = await ws(), await sse(one, two)
    for room in (one, two):
        await stream.joined()
        await client.join(room, events=[])
    await client.say(one, "seen")
    await stream.events(1)
    await stream.close()
    for n in range(3):
        await client.say(one, f"one {n}")
        await client.say(two, f"two {n}")
    back = await sse(one, two, last_event_id=stream.id)
    missed, joined = [], {}
    while len(missed) < 6:
        item = await back.next()
        if item["event"] == "dialogue:joined":
            joined[item.frame["roomId"]] = item.frame
        else:
            assert item.frame["roomId"] in joined
            missed.append((item.frame["roomId"], item.frame["data"]["text"]))
    assert {room: (frame["resume"], frame["replay"]) for room, frame in joined.items()} == {one: ("complete", 3), two: ("complete", 3)}
    for room, name in ((one, "one"), (two, "two")):
        assert [text for at, text in missed if at == room] == [f"{name} {n}" for n in range(3)]
    assert {room: p["seq"] for room, p in item.positions.items()} == {one: 4, two: 3}


async def test_a_room_that_the_id_does_not_name_is_fresh(sse, ws, projects):
    one, two = projects(), projects()
    client = await ws()
    joined = await client.join(one, events=[])
    await client.join(two, events=[])
    await client.say(one, "a")
    await client.say(two, "b")
    stream = await sse(one, two, last_event_id=f"{one.replace(':', '%3A')}={position(joined)}")
    frames = {}
    for _ in range(3):
        item = await stream.next()
        frames[item.frame["type"], item.frame["roomId"]] = item.frame
    assert frames["joined", one]["resume"] == "complete" and frames["joined", two]["resume"] == "fresh"
    assert frames["event", one]["data"] == {"text": "a"}
    await stream.silence(0.1)


# --- resuming ---

@pytest.mark.parametrize("way", ["last_event_id", "since"])
async def test_resume(sse, ws, project, way):
    client, stream = await ws(), await sse(project)
    await stream.joined()
    await client.join(project, events=[])
    for n in range(3):
        await client.say(project, str(n))
    await stream.events(3)
    await stream.close()
    for n in range(3, 6):
        await client.say(project, str(n))
    back = await sse(project, **{way: stream.id})
    item = await back.joined()
    assert (item.frame["resume"], item.frame["replay"], item.frame["seq"]) == ("complete", 3, 6)
    assert item["id"] == stream.id, "after `complete`, the client's own position"
    await client.say(project, "live")
    assert await back.texts(4) == ["3", "4", "5", "live"]


async def test_last_event_id_is_newer_than_the_since_of_the_first_load(sse, ws, project):
    client, stream = await ws(), await sse(project)
    first = await stream.joined()
    await client.join(project, events=[])
    for n in range(3):
        await client.say(project, str(n))
    await stream.events(2)
    back = await sse(project, since=first["id"], last_event_id=stream.id)
    assert (await back.joined()).frame["replay"] == 1
    assert await back.texts(1) == ["2"]


@pytest.mark.parametrize("part, value", [("epoch", "another"), ("eventId", "another"), ("seq", 99)])
async def test_lost(sse, ws, project, part, value):
    client = await ws()
    joined = await client.join(project, events=[])
    ok = await client.say(project)
    head = {"epoch": joined["epoch"], "seq": ok["seq"], "eventId": ok["eventId"]}
    stream = await sse(project, last_event_id=f"{project.replace(':', '%3A')}={position(head | {part: value})}")
    item = await stream.joined()
    assert item.frame["resume"] == "lost" and item.positions == {project: head}
    await client.say(project, "live")
    assert await stream.texts(1) == ["live"]


ILL_FORMED = [
    "{}=k\n\nevent: message\ndata: {{}}\n\n.1.x", "{}=k\r.1.x", "{}=k.1.a\nid: x", "{}=k.1.a b", "{}=k%0A.1.x", "{}=k.1.é",
    "{}=" + "k" * 65 + ".1.x", "{}=k.1." + "e" * 65, "{}=k.-1.x", "{}=k.+1.x", "{}=k.1", "{}=", "{}",
]


@pytest.mark.parametrize("since", ILL_FORMED, ids=ascii)
async def test_an_ill_formed_position_in_the_address(sse, project, since):
    stream = await sse(project, since=since.format(project.replace(":", "%3A")))
    check_error(stream.response, "INVALID_REQUEST")


@pytest.mark.parametrize("last", [last for last in ILL_FORMED if "\n" not in last and "\r" not in last] + ["garbage", ";;"], ids=ascii)
async def test_an_ill_formed_last_event_id_is_an_unknown_position(sse, ws, project, last):
    client = await ws()
    joined = await client.join(project, events=[])
    last = last.format(project.replace(":", "%3A")).encode()
    stream = await sse(project, "chat", since=f"chat={position(joined)}", last_event_id=last)
    first = await stream.joined()
    assert first.frame["resume"] == "lost" and first.positions[project] == since(joined)


async def test_a_last_event_id_that_names_another_room_only(sse, projects):
    one, two = projects(), projects()
    stream = await sse(one)
    await stream.joined()
    both = await sse(one, two, last_event_id=stream.id)
    resumes = [(await both.joined()).frame["resume"] for _ in range(2)]
    assert resumes == ["complete", "fresh"]


async def test_an_empty_event_id_is_not_checked(sse, ws, project):
    client = await ws()
    joined = await client.join(project, events=[])
    for n in range(3):
        await client.say(project, str(n))
    stream = await sse(project, since=f"{project.replace(':', '%3A')}={joined['epoch']}.1.")
    assert (await stream.joined()).frame["resume"] == "complete"
    assert await stream.texts(2) == ["1", "2"]


async def test_resume_keeps_to_the_events_asked_for(sse, ws, project):
    client = await ws()
    joined = await client.join(project, events=[])
    await client.say(project)
    await client.trigger(project, "task-moved", {"task": 1, "column": "done"})
    stream = await sse(project, events=["task-moved"], since=f"{project.replace(':', '%3A')}={position(joined)}")
    assert (await stream.joined()).frame["replay"] == 2
    assert [e["seq"] for e in await stream.events(1)] == [2]


async def test_a_position_moves_between_the_channels(sse, ws, project):
    client, stream = await ws(), await sse(project)
    await stream.joined()
    await client.join(project, events=[])
    await client.say(project, "a")
    item = await stream.next("message")
    await client.say(project, "b")
    other = await ws()
    assert (await other.join(project, since=item.positions[project]))["resume"] == "complete"
    assert await other.texts(1) == ["b"]


# --- history on join ---

async def test_history_on_join(sse, ws, own):
    client = await ws(own)
    await client.join("synced", events=[])
    for n in range(15):
        await client.say("synced", str(n))
    stream = await sse("synced", to=own)
    joined = await stream.joined()
    history = (await stream.next("dialogue:history")).frame
    assert history["type"] == "history" and "id" not in history and history["more"] is True
    assert [e["seq"] for e in history["events"]] == list(range(6, 16))
    await client.say("synced", "live")
    assert await stream.texts(1) == ["live"]
    back = await sse("synced", to=own, last_event_id=joined["id"])
    assert (await back.joined()).frame["resume"] == "complete"
    assert await back.texts(1) == ["live"]
    only = await sse("synced", to=own, last_event_id="synced=another.1.x")
    assert (await only.joined()).frame["resume"] == "lost"
    assert (await only.next("dialogue:history")).frame["events"][-1]["data"] == {"text": "live"}
