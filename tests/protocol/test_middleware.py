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


INVISIBLE = "\u0001\u001b\u007f\u0080\u00ad\u034f\u061c\u115f\u17b4\u180e\u200b\u200d\u200e\u202e\u2060\u2064\u2069\u3164\ufe0f\ufeff\uffa0\U000e0041\U000e0100"


@pytest.mark.parametrize("text", [f"sp{c}am" for c in INVISIBLE] + ["\uff33\uff50\uff41\uff4d", "\U0001d42c\u24df\u1d43m"], ids=ascii)
async def test_what_looks_like_the_word_is_blocked(ws, text):
    client = await ws()
    await client.join("moderated")
    await client.fails("BLOCKED", "trigger", roomId="moderated", event="message", data={"text": text})


@pytest.mark.parametrize("text", ["spammer", "antispam", "ham", "sp\u00e4m", "spam\u200bmer", "\uff53pammer"])
async def test_not_blocked(ws, text):
    client = await ws()
    await client.join("moderated")
    await client.say("moderated", text)
    assert await client.texts(1) == [text]


async def test_validation_comes_first(ws):
    client = await ws()
    await client.join("moderated")
    await client.fails("VALIDATION_FAILED", "trigger", roomId="moderated", event="message", data={"text": ""})
