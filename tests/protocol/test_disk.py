"""`STORE=disk:DIR`: what outlives the process."""

import os
import subprocess

import pytest

from client import at, bearer, check_error, quote, since
from deadlines import OVERTIME, within
from server import SERVER_KEY, Server, command

pytestmark = pytest.mark.disk


async def test_a_restart_loses_nothing(ws, start, tmp_path):
    store = {"STORE": f"disk:{tmp_path}"}
    server = start(**store)
    client = await ws(server)
    before = await client.join("chat")
    oks = [await client.say("chat", str(n), key=f"k{n}") for n in range(5)]
    await client.close()
    server.stop()
    server = start(**store)
    back = await ws(server, additional_headers=bearer(client.connected["anonymousToken"]))
    assert back.user == client.user
    after = await back.join("chat", since=at(before, oks[1]))
    assert (after["resume"], after["replay"], after["epoch"]) == ("complete", 3, before["epoch"])
    assert await back.texts(3) == ["2", "3", "4"]
    again = await back.say("chat", "4", key="k4")
    assert (again["duplicate"], again["seq"]) == (True, 5)


async def test_a_kill_loses_nothing_acknowledged(ws, start, tmp_path):
    server = Server(STORE=f"disk:{tmp_path}")
    client = await ws(server)
    before = await client.join("chat", events=[])
    oks = [await client.say("chat", str(n)) for n in range(50)]
    server.process.kill()
    server.process.wait()
    back = await ws(start(STORE=f"disk:{tmp_path}"))
    assert (await back.join("chat", since=at(before, oks[0])))["resume"] == "complete"
    assert [e["seq"] for e in await back.events(49)] == list(range(2, 51))


async def test_a_second_process_ends_before_it_listens(start, tmp_path):
    start(STORE=f"disk:{tmp_path}")
    environment = os.environ | {"ADDR": "127.0.0.1:0", "STORE": f"disk:{tmp_path}"}
    with within("the end of the second", 20):
        second = subprocess.run(command(), env=environment, capture_output=True, timeout=20 + OVERTIME)
    assert second.returncode != 0 and second.stdout == b"" and second.stderr


async def test_whose_a_key_is_outlives_a_restart(ws, start, tmp_path, http_to):
    store = {"STORE": f"disk:{tmp_path}", "SERVER_KEY": SERVER_KEY}
    server = start(**store)
    client = await ws(server)
    await client.join("chat")
    mine = bearer(client.connected["anonymousToken"])
    callers = [{}, mine, bearer(SERVER_KEY), bearer(SERVER_KEY) | {"Dialogue-From": client.user}]
    http = await http_to(server)
    firsts = [await http.trigger("chat", "message", {"text": "x"}, key="k", headers=caller) for caller in callers]
    assert len({first.json()["eventId"] for first in firsts}) == len(callers)
    made = bearer(firsts[0].headers["Dialogue-Anonymous-Token"])
    await client.close()
    server.stop()
    http = await http_to(start(**store))
    for caller, first in zip([*callers, made], [*firsts, firsts[0]]):
        again = await http.trigger("chat", "message", {"text": "x"}, key="k", headers=caller)
        assert again.json() == first.json() | {"duplicate": True}


async def test_a_deleted_room_is_remembered_over_a_restart(ws, sse, start, tmp_path, project):
    store = {"STORE": f"disk:{tmp_path}"}
    server = start(**store)
    creator = await ws(server)
    await creator.expect("ok", "createRoom", roomId=project)
    before = await creator.join(project)
    await creator.expect("ok", "deleteRoom", roomId=project)
    await creator.close()
    server.stop()
    server = start(**store)
    await (await ws(server)).fails("ROOM_NOT_FOUND", "join", roomId=project, since=since(before))
    check_error((await sse(project, to=server, since=f"{quote(project)}={before['epoch']}.0.")).response, "ROOM_NOT_FOUND")
    assert (await (await ws(server)).join(project))["resume"] == "fresh"
