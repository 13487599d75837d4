"""`moderated`: a filter blocks the word `spam`, whole, in any case."""

import pytest

from client import bearer, check_error
from server import SERVER_KEY

pytestmark = pytest.mark.middleware


@pytest.mark.parametrize("text", ["spam", "SPAM", "buy Spam now", "spam!", "(spam)", "line\nspam"])
async def test_blocked(ws, http, text):
    client = await ws()
    joined = await client.join("moderated")
    error = await client.fails("BLOCKED", "trigger", roomId="moderated", event="message", data={"text": text})
    assert error["message"]
    check_error(await http.trigger("moderated", "message", {"text": text}), "BLOCKED")
    check_error(await http.trigger("moderated", "message", {"text": text}, headers=bearer(SERVER_KEY)), "BLOCKED")
    assert (await client.join("moderated"))["seq"] == joined["seq"]
    assert not client.inbox


@pytest.mark.parametrize("text", ["spammer", "antispam", "ham"])
async def test_not_blocked(ws, text):
    client = await ws()
    await client.join("moderated")
    await client.say("moderated", text)
    assert await client.texts(1) == [text]


async def test_validation_comes_first(ws):
    client = await ws()
    await client.join("moderated")
    await client.fails("VALIDATION_FAILED", "trigger", roomId="moderated", event="message", data={"text": ""})
