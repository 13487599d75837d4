"""Two instances over one Redis, which the test starts itself."""

import asyncio
import socket
import subprocess

import pytest

from client import at, bearer

pytestmark = pytest.mark.redis


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("redis")
    process = subprocess.Popen(
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)], stdout=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if "eady to accept connections" in line:
            break
    else:
        raise AssertionError("redis-server did not start")
    yield f"redis:redis://127.0.0.1:{port}"
    process.terminate()
    process.wait(10)


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
