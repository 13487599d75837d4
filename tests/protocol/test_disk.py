"""`STORE=disk:DIR`: what outlives the process."""

import os
import subprocess

import pytest

from client import at, bearer
from server import Server, command

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
    second = subprocess.run(command(), env=environment, capture_output=True, timeout=20)
    assert second.returncode != 0 and second.stdout == b"" and second.stderr
