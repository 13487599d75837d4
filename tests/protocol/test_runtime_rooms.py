"""createRoom, deleteRoom, listRooms, members, watch."""

import asyncio

import pytest

from client import bearer, check_error
from deadlines import soon

pytestmark = pytest.mark.runtime_rooms


def room_named(frame, room):
    return next((entry for entry in frame["rooms"] if entry["roomId"] == room), None)


async def all_rooms(client):
    rooms, after = [], {}
    for _ in range(100):
        frame = await client.expect("rooms", "listRooms", limit=1000, **after)
        rooms += frame["rooms"]
        if not frame["more"]:
            return {"rooms": rooms}
        after = {"after": rooms[-1]["roomId"]}
    raise AssertionError("paging does not end")


async def test_a_created_room_is_listed(ws, project):
    client = await ws()
    ok = await client.expect("ok", "createRoom", roomId=project, name="Plan", description="What next", maxSize=50)
    assert set(ok) == {"type", "id"}
    assert room_named(await all_rooms(client), project) == {
        "roomId": project, "name": "Plan", "description": "What next", "size": 0, "maxSize": 50, "createdBy": client.user,
    }
    await client.join(project)
    assert (await client.join(project))["name"] == "Plan"


async def test_absent_where_there_is_none(ws, project):
    client = await ws()
    await client.join(project)
    entry = room_named(await all_rooms(client), project)
    assert entry == {"roomId": project, "name": "project", "size": 1}


async def test_declared_rooms_are_listed(ws):
    client = await ws()
    rooms = await all_rooms(client)
    assert room_named(rooms, "small")["maxSize"] == 2
    assert room_named(rooms, "chat")["roomId"] == "chat"
    assert room_named(rooms, "members") is None, "only rooms that the caller may join"


async def test_pages_of_rooms(ws, projects):
    client = await ws()
    mine = {projects() for _ in range(5)}
    for room in mine:
        await client.expect("ok", "createRoom", roomId=room)
    seen, after = [], {}
    for _ in range(500):
        frame = await client.expect("rooms", "listRooms", limit=2, **after)
        assert len(frame["rooms"]) <= 2
        seen += [entry["roomId"] for entry in frame["rooms"]]
        if not frame["more"]:
            break
        after = {"after": seen[-1]}
    assert len(seen) == len(set(seen)) and mine <= set(seen)


@pytest.mark.parametrize("limit", [1001, -1, "10"])
async def test_a_bad_limit(ws, limit):
    await (await ws()).fails("INVALID_REQUEST", "listRooms", limit=limit)


async def test_rooms_over_http(ws, http, project):
    client = await ws()
    await client.expect("ok", "createRoom", roomId=project)
    frame = (await http.get("/rooms?limit=1000")).json()
    assert frame["type"] == "rooms" and isinstance(frame["more"], bool) and room_named(frame, project)
    assert len((await http.get("/rooms?limit=1")).json()["rooms"]) == 1
    first = frame["rooms"][0]["roomId"]
    assert room_named((await http.get("/rooms", params={"limit": 1000, "after": first})).json(), first) is None
    check_error(await http.get("/rooms?limit=1001"), "INVALID_REQUEST")


async def test_create_room_is_refused(ws, project):
    client = await ws()
    await client.expect("ok", "createRoom", roomId=project)
    await client.fails("ROOM_EXISTS", "createRoom", roomId=project)
    await client.fails("ROOM_NOT_FOUND", "createRoom", roomId="nowhere")
    await client.fails("ROOM_NOT_FOUND", "createRoom", roomId="project:042")
    await client.fails("INVALID_REQUEST", "createRoom")


async def test_max_size(ws, project):
    one, two = await ws(), await ws()
    await one.expect("ok", "createRoom", roomId=project, maxSize=1)
    await one.join(project)
    await two.fails("ROOM_FULL", "join", roomId=project)


async def test_delete_room(ws, project):
    creator, member = await ws(), await ws()
    await creator.expect("ok", "createRoom", roomId=project)
    await creator.join(project)
    before = await member.join(project)
    await member.expect("rooms", "listRooms", watch=True)
    await creator.say(project)
    await member.next("event")
    await member.fails("PERMISSION_DENIED", "deleteRoom", roomId=project)
    await creator.expect("ok", "deleteRoom", roomId=project)
    left = await member.next("left")
    assert left["roomId"] == project and left["reason"] and "id" not in left
    assert await member.next() == {"type": "roomDeleted", "roomId": project}
    await member.fails("NOT_IN_ROOM", "getHistory", roomId=project)
    after = await member.join(project)
    assert (after["seq"], after["resume"]) == (0, "fresh") and after["epoch"] != before["epoch"]


async def test_delete_room_ends_a_stream_in_it(ws, sse, project):
    creator = await ws()
    await creator.expect("ok", "createRoom", roomId=project)
    stream = await sse(project)
    await stream.joined()
    await creator.expect("ok", "deleteRoom", roomId=project)
    left = await stream.next("dialogue:left")
    assert left.frame["reason"] and "id" not in left
    assert await stream.ended() == []


async def deleted(ws, sse, room, to=None):
    """A room that was deleted, and the id of a stream that had it and another room."""
    creator = await ws(to)
    await creator.expect("ok", "createRoom", roomId=room)
    stream = await sse(room, "chat", to=to)
    for _ in range(2):
        await stream.joined()
    await creator.join(room)
    await creator.say(room, "x")
    last = (await stream.next("message"))["id"]
    await creator.expect("ok", "deleteRoom", roomId=room)
    assert (await stream.next("dialogue:left")).frame["roomId"] == room
    return creator, last


async def test_a_stream_goes_on_with_the_rooms_that_are_left(ws, sse, project):
    creator, _ = await deleted(ws, sse, project)
    stream = await sse("chat", project)
    for _ in range(2):
        await stream.joined()
    await creator.join("chat")
    await creator.say("chat", "still")
    assert "still" in await stream.texts(1)


async def test_who_comes_back_to_a_deleted_room_does_not_make_it(ws, sse, project):
    creator, last = await deleted(ws, sse, project)
    position = last.split(";")[0].partition("=")[2].split(".")
    since = {"epoch": position[0], "seq": int(position[1]), "eventId": position[2]}
    await creator.fails("ROOM_NOT_FOUND", "join", roomId=project, since=since)
    await (await ws()).fails("ROOM_NOT_FOUND", "join", roomId=project, since=since)
    for options in ({"last_event_id": last}, {"since": last.split(";")[0]}):
        check_error((await sse(project, **options)).response, "ROOM_NOT_FOUND")
        stream = await sse(project, "chat", **options)
        items = [await stream.next() for _ in range(2)]
        assert {item["event"] for item in items} == {"dialogue:left", "dialogue:joined"}
        for item in items:
            assert item.frame["roomId"] == (project if item["event"] == "dialogue:left" else "chat")
    assert project not in [room["roomId"] for room in (await creator.expect("rooms", "listRooms", limit=1000))["rooms"]]


async def test_a_deleted_room_can_be_made_again(ws, sse, project):
    creator, last = await deleted(ws, sse, project)
    since = last.split(";")[0]
    await creator.expect("ok", "createRoom", roomId=project)
    epoch, seq, event_id = since.partition("=")[2].split(".")
    joined = await creator.join(project, since={"epoch": epoch, "seq": int(seq), "eventId": event_id})
    assert (joined["resume"], joined["seq"]) == ("lost", 0)
    assert (await (await sse(project, since=since)).joined()).frame["resume"] == "lost"


@pytest.mark.parametrize("room", ["chat", "small"])
async def test_declared_rooms_stay(ws, room):
    await (await ws()).fails("PERMISSION_DENIED", "deleteRoom", roomId=room)


async def test_watch(ws, project, projects):
    watcher, creator, other = await ws(), await ws(), await ws()
    await watcher.expect("rooms", "listRooms", watch=True)
    await creator.expect("ok", "createRoom", roomId=project, name="Plan")
    created = await watcher.next("roomCreated")
    assert created["room"]["roomId"] == project and created["room"]["name"] == "Plan" and created["room"]["createdBy"] == creator.user
    await creator.expect("ok", "deleteRoom", roomId=project)
    assert await watcher.next() == {"type": "roomDeleted", "roomId": project}
    await creator.join(projects())
    await watcher.silence()
    await other.silence(0.1)


async def members_until(client, room, condition):
    """Membership may lag: asks until it is as expected."""
    async def ask():
        while True:
            frame = await client.expect("members", "members", roomId=room)
            if condition(frame):
                return frame
            await asyncio.sleep(0.05)

    return await soon("members as expected", ask(), 5)


async def test_members(ws, project):
    one, two = await ws(), await ws()
    again = await ws(additional_headers=bearer(one.connected["anonymousToken"]))
    await one.fails("NOT_IN_ROOM", "members", roomId=project)
    for client in (one, two, again):
        await client.join(project)
    frame = await members_until(one, project, lambda frame: sum(m["connections"] for m in frame["members"]) >= 3)
    assert sorted((m["userId"], m["connections"]) for m in frame["members"]) == sorted([(one.user, 2), (two.user, 1)])
    assert (frame["size"], frame["more"]) == (2, False)
    page = await one.expect("members", "members", roomId=project, limit=1)
    rest = await one.expect("members", "members", roomId=project, limit=1, after=page["members"][0]["userId"])
    assert (page["more"], rest["more"]) == (True, False)
    assert {page["members"][0]["userId"], rest["members"][0]["userId"]} == {one.user, two.user}
    await two.leave(project)
    await members_until(one, project, lambda frame: frame["size"] == 1)


async def test_a_stream_is_a_member(ws, sse, project):
    client, other = await ws(), await ws()
    await client.join(project)
    stream = await sse(project, headers=bearer(other.connected["anonymousToken"]))
    await stream.joined()
    frame = await members_until(client, project, lambda frame: frame["size"] == 2)
    assert {"userId": other.user, "connections": 1} in frame["members"]


# --- over HTTP ---

async def test_a_room_is_created_and_deleted_over_http(ws, http, project):
    watcher, client = await ws(), await ws()
    mine = bearer(client.connected["anonymousToken"])
    await watcher.expect("rooms", "listRooms", watch=True)
    created = await http.post("/rooms", json={"roomId": project, "name": "Plan", "description": "d", "maxSize": 7}, headers=mine)
    assert (created.status_code, created.json()) == (200, {"type": "ok"})
    expected = {"roomId": project, "name": "Plan", "description": "d", "size": 0, "maxSize": 7, "createdBy": client.user}
    assert await room_event(watcher, "roomCreated", lambda frame: frame["room"]["roomId"] == project) == {
        "type": "roomCreated", "room": expected,
    }
    check_error(await http.post("/rooms", json={"roomId": project}, headers=mine), "ROOM_EXISTS")
    await client.join(project)
    check_error(await http.delete(f"/rooms/{project}"), "PERMISSION_DENIED")
    deleted = await http.delete(f"/rooms/{project}", headers=mine)
    assert (deleted.status_code, deleted.json()) == (200, {"type": "ok"})
    assert (await client.next("left"))["roomId"] == project
    await room_event(watcher, "roomDeleted", lambda frame: frame["roomId"] == project)
    check_error(await http.delete(f"/rooms/{project}", headers=mine), "ROOM_NOT_FOUND")
    check_error(await http.get(f"/rooms/{project}/history", headers=mine), "ROOM_NOT_FOUND")


async def room_event(client, kind, is_it):
    while True:
        frame = await client.next()
        if frame["type"] == kind and is_it(frame):
            return frame


async def test_a_room_of_one_channel_is_deleted_over_the_other(ws, http, projects):
    client = await ws()
    mine = bearer(client.connected["anonymousToken"])
    first, second = projects(), projects()
    await client.expect("ok", "createRoom", roomId=first)
    assert (await http.delete(f"/rooms/{first}", headers=mine)).status_code == 200
    assert (await http.post("/rooms", json={"roomId": second}, headers=mine)).status_code == 200
    await client.expect("ok", "deleteRoom", roomId=second)


async def test_a_server_key_creates_and_deletes(ws, http, backend, projects):
    client = await ws()
    for creator, headers in [("system", {}), ("J\u00fcrgen", {"Dialogue-From": "J%C3%BCrgen"}), ("system", {"Dialogue-From": ""})]:
        room = projects()
        assert (await backend.post("/rooms", json={"roomId": room}, headers=headers)).status_code == 200
        assert room_named(await all_rooms(client), room)["createdBy"] == creator
        check_error(await http.delete(f"/rooms/{room}"), "PERMISSION_DENIED")
        assert (await backend.delete(f"/rooms/{room}")).status_code == 200
        assert room_named(await all_rooms(client), room) is None
    theirs = projects()
    await client.expect("ok", "createRoom", roomId=theirs)
    assert (await backend.delete(f"/rooms/{theirs}")).status_code == 200
    check_error(await backend.delete(f"/rooms/{theirs}"), "ROOM_NOT_FOUND")


async def test_a_server_key_has_no_bound_of_rooms(ws, http, backend, projects):
    for _ in range(110):
        assert (await backend.post("/rooms", json={"roomId": projects()}, headers={"Dialogue-From": "many"})).status_code == 200
    client = await ws()
    mine = bearer(client.connected["anonymousToken"])
    for _ in range(100):
        assert (await http.post("/rooms", json={"roomId": projects()}, headers=mine)).status_code == 200
    check_error(await http.post("/rooms", json={"roomId": projects()}, headers=mine), "TOO_MANY")


async def test_a_room_without_key_is_never_deleted(http, backend):
    for client in (http, backend):
        check_error(await client.delete("/rooms/chat"), "PERMISSION_DENIED")
        check_error(await client.post("/rooms", json={"roomId": "chat"}), "ROOM_EXISTS")


@pytest.mark.parametrize("room", ["nowhere", "project", "project:042", "project:%2B42", "chat:1"])
async def test_no_room_to_create_or_to_delete(http, backend, room):
    for client in (http, backend):
        check_error(await client.delete(f"/rooms/{room}"), "ROOM_NOT_FOUND")
        check_error(await client.post("/rooms", json={"roomId": room.replace("%2B", "+")}), "ROOM_NOT_FOUND")


@pytest.mark.parametrize("body", [{}, {"roomId": 1}, {"roomId": "project:1", "maxSize": 0}, {"roomId": "project:1", "name": 1}, [], "x"])
async def test_a_body_that_creates_nothing(http, backend, body):
    for client in (http, backend):
        check_error(await client.post("/rooms", json=body), "INVALID_REQUEST")


async def test_what_creating_over_http_needs(server, http, backend, project):
    text = b'{"roomId":"%s"}' % project.encode()
    for client in (http, backend):
        for kind in (None, "text/plain"):
            headers = {"Content-Type": kind} if kind else {}
            check_error(await client.post("/rooms", content=text, headers=headers), "INVALID_REQUEST")
        large = {"roomId": project, "description": "d", "pad": "p" * 70_000}
        check_error(await client.post("/rooms", json=large), "TOO_LARGE")
        foreign = {"Origin": "https://evil.example"}
        check_error(await client.post("/rooms", json={"roomId": project}, headers=foreign), "PERMISSION_DENIED")
        check_error(await client.delete(f"/rooms/{project}", headers=foreign), "PERMISSION_DENIED")
    for value in ("%", "%zz", "%C3", "%0A"):
        headers = {"Dialogue-From": value}
        check_error(await backend.post("/rooms", json={"roomId": project}, headers=headers), "INVALID_REQUEST")
        check_error(await backend.trigger(project, "message", {"text": "x"}, headers=headers), "INVALID_REQUEST")
    check_error(await http.post("/rooms", json={"roomId": project}, headers=bearer("nonsense")), "UNAUTHENTICATED")
    own = {"Origin": server.url}
    assert (await http.post("/rooms", json={"roomId": project}, headers=own)).status_code == 200


async def test_a_trigger_makes_the_room_and_reading_does_not(http, project):
    check_error(await http.get(f"/rooms/{project}/history"), "ROOM_NOT_FOUND")
    check_error(await http.delete(f"/rooms/{project}"), "ROOM_NOT_FOUND")
    assert (await http.trigger(project, "message", {"text": "x"})).status_code == 200
    assert len((await http.get(f"/rooms/{project}/history")).json()["events"]) == 1
