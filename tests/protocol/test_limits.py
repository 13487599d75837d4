"""Rate limits: `limited` takes 5 per second."""

import asyncio

import pytest

from client import bearer, check_error
from server import SERVER_KEY

pytestmark = pytest.mark.limits


async def exhaust(client):
    """Triggers until the limit is reached; the refusal."""
    for n in range(20):
        reply = await client.request("trigger", roomId="limited", event="message", data={"text": str(n)})
        if reply["type"] == "error":
            assert n == 5, f"{n} were accepted"
            assert reply["code"] == "RATE_LIMITED" and 0 < reply["retryAfterMs"] <= 1000
            return reply
    raise AssertionError("no limit")


async def test_the_limit_and_its_end(ws, own):
    client = await ws(own)
    await client.join("limited")
    refusal = await exhaust(client)
    await asyncio.sleep(refusal["retryAfterMs"] / 1000 + 0.02)
    await client.say("limited", "after")
    assert [e["seq"] for e in await client.events(6)] == [1, 2, 3, 4, 5, 6]


async def test_the_limit_is_over_both_channels(ws, own, http_to):
    client, http = await ws(own), await http_to(own)
    await client.join("limited", events=[])
    await exhaust(client)
    response = await http.trigger("limited", "message", {"text": "x"}, headers=bearer(client.connected["anonymousToken"]))
    error = check_error(response, "RATE_LIMITED")
    assert error["retryAfterMs"] > 0 and int(response.headers["Retry-After"]) >= 1


async def test_anonymous_clients_are_counted_by_address(ws, own):
    one, two = await ws(own), await ws(own)
    await one.join("limited", events=[])
    await two.join("limited", events=[])
    await exhaust(one)
    await two.fails("RATE_LIMITED", "trigger", roomId="limited", event="message", data={"text": "x"})


async def test_other_rooms_are_not_limited(ws, own):
    client = await ws(own)
    await client.join("limited", events=[])
    await client.join("chat", events=[])
    await exhaust(client)
    for n in range(20):
        await client.say("chat", str(n))


async def test_who_keeps_exceeding_is_closed(ws, own):
    client = await ws(own)
    await client.join("limited", events=[])
    for id in range(200):
        await client.send(type="trigger", id=id, roomId="limited", event="message", data={"text": "x"})
    frames = await client.closed(4429)
    assert sum(frame["type"] == "error" for frame in frames) >= 100


async def test_limits_do_not_apply_to_a_server_key(own, http_to):
    backend = await http_to(own, headers=bearer(SERVER_KEY))
    for n in range(20):
        assert (await backend.trigger("limited", "message", {"text": str(n)})).status_code == 200
