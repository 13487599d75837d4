"""Two instances over one Redis, which the test starts itself."""

import asyncio
import socket
import subprocess

import pytest

from client import WAIT, Sse, at, bearer, check_error, quote, since
from deadlines import soon
from server import SERVER_KEY

pytestmark = pytest.mark.redis


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory):
    folder, said = tmp_path_factory.mktemp("redis"), ""
    for _ in range(20):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        process = subprocess.Popen(
            ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)], stdout=subprocess.PIPE, text=True
        )
        said = ""
        for line in process.stdout:
            said += line
            if "eady to accept connections" in line:
                break
        else:
            process.wait()
            # Somebody else may take the port first.
            if "Address already in use" in said:
                continue
            raise AssertionError(f"redis-server did not start: {said}")
        break
    else:
        raise AssertionError(f"no port for redis-server: {said}")
    yield f"redis:redis://127.0.0.1:{port}"
    process.kill()
    process.wait()


@pytest.fixture
def redis_cli(redis_url):
    """Runs `redis-cli` against that Redis."""
    port = redis_url.rpartition(":")[2]
    def cli(*words):
        return subprocess.run(["redis-cli", "-p", port, *words], check=True, capture_output=True, text=True).stdout.strip()
    return cli


@pytest.fixture
def pair(start, redis_url):
    return [start(STORE=redis_url, BACKPLANE=redis_url) for _ in range(2)]


async def test_one_order_on_both(ws, sse, pair, project):
    clients = [await ws(server) for server in pair for _ in range(2)]
    epochs = {(await client.join(project))["epoch"] for client in clients}
    assert len(epochs) == 1
    stream = await sse(project, to=pair[1])
    await stream.joined()

    async def talk(client):
        for n in range(50):
            await client.send(type="trigger", roomId=project, event="message", data={"text": str(n)})

    await asyncio.gather(*(talk(client) for client in clients))
    seen = [[e["eventId"] for e in await client.events(200)] for client in clients] + [[e["eventId"] for e in await stream.events(200)]]
    assert all(events == seen[0] for events in seen) and len(set(seen[0])) == 200


async def test_resume_and_keys_on_the_other_instance(ws, pair, project):
    client = await ws(pair[0])
    joined = await client.join(project)
    first = await client.say(project, "a", key="k")
    await client.say(project, "b")
    await client.close()
    back = await ws(pair[1], additional_headers=bearer(client.connected["anonymousToken"]))
    assert back.user == client.user
    assert (await back.join(project, since=at(joined, first)))["resume"] == "complete"
    assert await back.texts(1) == ["b"]
    again = await back.say(project, "a", key="k")
    assert (again["duplicate"], again["seq"]) == (True, first["seq"])


async def test_whose_a_key_is_is_known_everywhere(ws, start, redis_url, project, http_to):
    pair = [start(STORE=redis_url, BACKPLANE=redis_url, SERVER_KEY=SERVER_KEY) for _ in range(2)]
    here, there = [await http_to(server) for server in pair]
    client = await ws(pair[0])
    mine = bearer(client.connected["anonymousToken"])
    callers = [{}, mine, bearer(SERVER_KEY), bearer(SERVER_KEY) | {"Dialogue-From": client.user}]
    firsts = [await here.trigger(project, "message", {"text": "x"}, key="k", headers=caller) for caller in callers]
    assert len({first.json()["eventId"] for first in firsts}) == len(callers)
    for caller, first in zip(callers, firsts):
        again = await there.trigger(project, "message", {"text": "x"}, key="k", headers=caller)
        assert again.json() == first.json() | {"duplicate": True}
        if not caller:
            # The id that was made for either of them is the same caller.
            for answer in (first, again):
                made = bearer(answer.headers["Dialogue-Anonymous-Token"])
                third = await there.trigger(project, "message", {"text": "x"}, key="k", headers=made)
                assert third.json() == first.json() | {"duplicate": True}
    assert len((await there.get(f"/rooms/{project}/history")).json()["events"]) == len(callers)


@pytest.mark.parametrize("nodes", [1, 2])
async def test_a_key_stands_for_nothing_once_the_log_is_lost(start, redis_url, redis_cli, project, http_to, nodes):
    settings = {"STORE": redis_url} | ({"BACKPLANE": redis_url} if nodes == 2 else {})
    servers = [await http_to(start(**settings, SERVER_KEY=SERVER_KEY), headers=bearer(SERVER_KEY)) for _ in range(nodes)]
    for _ in range(3):
        first = (await servers[0].trigger(project, "message", {"text": "x"}, key="k")).json()
        redis_cli("UNLINK", f"dialogue:{{room/{project}}}:log")
        for server in servers:
            again = await accepted(server, project, key="k")
            events = (await server.get(f"/rooms/{project}/history")).json()["events"]
            assert [event["eventId"] for event in events] == [again["eventId"]] != [first["eventId"]]
        redis_cli("UNLINK", f"dialogue:{{room/{project}}}:log")
        # Another key, so that the log is there again before the first key is used.
        for server in servers:
            await accepted(server, project, key="other")
        again = await accepted(servers[-1], project, key="k")
        assert "duplicate" not in again
        await has(servers[0], project, again)
        redis_cli("UNLINK", f"dialogue:{{room/{project}}}:log")
        await accepted(servers[0], project)


async def test_a_key_stands_for_nothing_where_the_log_was_lost_meanwhile(start, redis_url, redis_cli, project, http_to):
    async def up():
        server = start(STORE=redis_url, SERVER_KEY=SERVER_KEY)
        return server, await http_to(server, headers=bearer(SERVER_KEY))

    server, http = await up()
    first = (await http.trigger(project, "message", {"text": "x"}, key="k")).json()
    server.stop()
    redis_cli("UNLINK", f"dialogue:{{room/{project}}}:log")
    server, http = await up()
    await accepted(http, project)
    server.stop()
    server, http = await up()
    again = await accepted(http, project, key="k")
    assert "duplicate" not in again and again["eventId"] != first["eventId"]
    assert len((await http.get(f"/rooms/{project}/history")).json()["events"]) == 2


async def test_a_deleted_room_is_remembered_everywhere(ws, sse, pair, start, redis_url, project):
    creator = await ws(pair[0])
    await creator.expect("ok", "createRoom", roomId=project)
    before = await creator.join(project)
    streams = [await sse(project, to=server) for server in pair]
    for stream in streams:
        await stream.joined()
    await creator.expect("ok", "deleteRoom", roomId=project)
    for stream in streams:
        await stream.next("dialogue:left")
        assert await stream.ended() == []
    # One that has just started, too.
    for server in (*pair, start(STORE=redis_url, BACKPLANE=redis_url)):
        await (await ws(server)).fails("ROOM_NOT_FOUND", "join", roomId=project, since=since(before))
        check_error((await sse(project, to=server, since=f"{quote(project)}={before['epoch']}.0.")).response, "ROOM_NOT_FOUND")
    assert (await (await ws(pair[1])).join(project))["resume"] == "fresh"


@pytest.mark.parametrize("nodes", [1, 2])
async def test_a_lost_log_is_told_to_its_members_and_to_nobody_else(ws, sse, start, redis_url, redis_cli, projects, http_to, nodes):
    settings = {"STORE": redis_url} | ({"BACKPLANE": redis_url} if nodes == 2 else {})
    servers = [start(**settings, SERVER_KEY=SERVER_KEY) for _ in range(nodes)]
    lost, other = projects(), projects()
    backend = await http_to(servers[0], headers=bearer(SERVER_KEY))
    await accepted(backend, other)
    members, streams = [], []
    for server in servers:
        member = await ws(server)
        before = await member.join(lost)
        await member.join(other)
        stream = await sse(lost, other, to=server)
        for _ in range(2):
            await stream.joined()
        members.append(member)
        streams.append(stream)
    await accepted(backend, lost)
    for reader in (*members, *streams):
        [event] = await reader.events(1)
        assert event["roomId"] == lost
    redis_cli("UNLINK", f"dialogue:{{room/{lost}}}:log")
    ok = await accepted(backend, lost)
    await accepted(backend, other)
    for reader in (*members, *streams):
        joined = await moved(reader, lost, other, ok)
        assert "id" not in joined and joined["resume"] == "lost"
        assert joined["epoch"] != before["epoch"]
    # They are members as before.
    for member in members:
        await member.say(lost, "again")
    for reader in (*members, *streams):
        for event in await reader.events(len(members)):
            assert (event["roomId"], event["data"]["text"]) == (lost, "again")
    again = await ws(servers[-1])
    assert (await again.join(lost, since=at(before, ok)))["resume"] == "lost"


async def moved(reader, lost, other, ok):
    """The unasked `joined` of a room whose log was lost, and after it the room's event, unless `joined` is behind that; the
    event of another room comes at any place among these, since rooms have no order between them."""
    joined, own, elsewhere = None, None, None
    while joined is None or elsewhere is None or (own is None and joined["seq"] < ok["seq"]):
        got = await reader.next()
        frame = got.frame if isinstance(reader, Sse) else got
        if frame["roomId"] == other:
            assert (frame["type"], elsewhere) == ("event", None), frame
            elsewhere = frame
        elif joined is None:
            assert (frame["type"], frame["roomId"]) == ("joined", lost), frame
            joined = frame
            if isinstance(reader, Sse):
                assert got.positions[lost]["epoch"] == joined["epoch"]
        else:
            assert (frame["roomId"], frame["eventId"], own) == (lost, ok["eventId"], None), frame
            own = frame
    return joined


async def has(http, room, event):
    """Waits until the history of the room has that event: at another instance it comes a moment after its acknowledgement."""
    async def reading():
        while event["eventId"] not in (seen := [one["eventId"] for one in (await http.get(f"/rooms/{room}/history")).json()["events"]]):
            await asyncio.sleep(0.01)

    await soon("an event that was acknowledged elsewhere", reading(), WAIT)


async def accepted(http, room, key=None):
    """Triggers until the room takes it: a log that is lost is found to be so by whoever writes to it."""
    async def trying():
        while (answer := await http.trigger(room, "message", {"text": "x"}, key=key)).status_code == 503:
            assert answer.json()["code"] == "UNAVAILABLE"
        return answer

    answer = await soon("the room takes events", trying(), WAIT)
    assert answer.status_code == 200, answer.text
    return answer.json()
