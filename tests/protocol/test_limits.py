"""Rate limits: `limited` takes 5 per second."""

import asyncio
import time

import pytest

from client import bearer, check_error
from deadlines import soon
from server import SERVER_KEY

pytestmark = pytest.mark.limits


# From one to the next, once the first five are used up.
EVERY = 0.2


async def exhaust(client):
    """Triggers many at once until the limit is reached; how many were accepted, and the last refusal."""
    began, accepted, refusal = time.monotonic(), 0, None
    while refusal is None:
        for n in range(8):
            await client.send(type="trigger", id=f"e{n}", roomId="limited", event="message", data={"text": str(n)})
        for n in range(8):
            reply = await client.reply(f"e{n}")
            if reply["type"] == "ok":
                accepted += 1
            else:
                assert reply["code"] == "RATE_LIMITED" and 0 < reply["retryAfterMs"] <= 1000, reply
                refusal = reply
    took = time.monotonic() - began
    assert accepted <= 5 + took / EVERY, f"{accepted} were accepted in {took} s"
    return accepted, refusal


async def refused(client, ask, accepts):
    """The answer to what `ask` sends once nothing is left: a refusal, unless one more was due by then. Then it begins anew."""
    async def trying():
        while True:
            began = time.monotonic()
            _, refusal = await exhaust(client)
            answer = await ask()
            if not accepts(answer):
                return answer
            # In whole milliseconds.
            assert time.monotonic() - began > refusal["retryAfterMs"] / 1000 - 0.002, "let in too early"
            # So that there are fewer than 100 refusals in 10 s.
            await asyncio.sleep(1)

    return await soon("a refusal", trying(), 30)


async def test_the_limit_and_its_end(ws, own):
    client = await ws(own)
    await client.join("limited")
    accepted, refusal = await exhaust(client)
    assert accepted >= 5
    await asyncio.sleep(refusal["retryAfterMs"] / 1000 + 0.02)
    await client.say("limited", "after")
    assert [e["seq"] for e in await client.events(accepted + 1)] == list(range(1, accepted + 2))


async def test_the_limit_is_over_both_channels(ws, own, http_to):
    client, http = await ws(own), await http_to(own)
    await client.join("limited", events=[])
    mine = bearer(client.connected["anonymousToken"])

    async def ask():
        return await http.trigger("limited", "message", {"text": "x"}, headers=mine)

    response = await refused(client, ask, lambda response: response.status_code == 200)
    error = check_error(response, "RATE_LIMITED")
    assert error["retryAfterMs"] > 0 and int(response.headers["Retry-After"]) >= 1


async def test_anonymous_clients_are_counted_by_address(ws, own):
    one, two = await ws(own), await ws(own)
    await one.join("limited", events=[])
    await two.join("limited", events=[])

    async def ask():
        return await two.request("trigger", roomId="limited", event="message", data={"text": "x"})

    answer = await refused(one, ask, lambda answer: answer["type"] == "ok")
    assert (answer["type"], answer.get("code")) == ("error", "RATE_LIMITED"), answer


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
