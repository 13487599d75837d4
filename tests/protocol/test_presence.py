"""Presence, in the room that declares it."""

import asyncio
import time

import pytest

from client import bearer
from deadlines import took

pytestmark = pytest.mark.presence


async def test_joined_and_left_once_per_user(ws, own):
    watcher, other = await ws(own), await ws(own)
    await watcher.join("present")
    await other.join("present")
    assert await watcher.next("presence") == {
        "type": "presence", "roomId": "present", "userId": other.user, "change": "joined", "size": 2,
    }
    again = await ws(own, additional_headers=bearer(other.connected["anonymousToken"]))
    await again.join("present")
    await other.close()
    await watcher.silence(2.5)
    await again.close()
    left = await watcher.next("presence")
    assert (left["userId"], left["change"], left["size"]) == (other.user, "left", 1)


async def test_a_reload_shows_nothing(ws, own):
    watcher, other = await ws(own), await ws(own)
    await watcher.join("present")
    await other.join("present")
    await watcher.next("presence")
    began = time.monotonic()
    await other.close()
    back = await ws(own, additional_headers=bearer(other.connected["anonymousToken"]))
    await back.join("present")
    # Later, it would have left meanwhile.
    took("the reload", began, 2)
    await watcher.silence(3)


async def test_one_hears_nothing_of_oneself(ws, own):
    client = await ws(own)
    await client.join("present")
    await client.silence()


async def test_other_rooms_have_no_presence(ws, project):
    watcher, other = await ws(), await ws()
    await watcher.join(project)
    await other.join(project)
    await asyncio.gather(watcher.silence(), other.silence())
