"""createRoom, deleteRoom, listRooms, members, watch."""

import asyncio

import pytest

from client import bearer, check_error

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
    assert (await stream.next("dialogue:left")).frame["reason"]


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
    async with asyncio.timeout(5):
        while True:
            frame = await client.expect("members", "members", roomId=room)
            if condition(frame):
                return frame
            await asyncio.sleep(0.05)


async def test_members(ws, project):
    one, two = await ws(), await ws()
    again = await ws(additional_headers=bearer(one.connected["anonymousToken"]))
    await one.fails("NOT_IN_ROOM", "members", roomId=project)
    for client in (one, two, again):
        await client.join(project)
    frame = await members_until(one, project, lambda frame: frame["size"] == 2)
    assert sorted((m["userId"], m["connections"]) for m in frame["members"]) == sorted([(one.user, 2), (two.user, 1)])
    assert frame["more"] is False
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
