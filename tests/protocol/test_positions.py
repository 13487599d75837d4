"""Positions: what resumes, what is lost, and that nothing is lost unsaid or sent twice."""

import asyncio
import socket
import time

import pytest

from client import WAIT, at, since
from deadlines import took


async def room_of(ws, room, count):
    """A room with so many messages: its writer, and the position before each and at the end."""
    writer = await ws()
    joined = await writer.join(room, events=[])
    positions = [since(joined)]
    for n in range(1, count + 1):
        positions.append(at(joined, await writer.say(room, str(n))))
    return writer, positions


# --- complete ---

@pytest.mark.parametrize("seen", [0, 1, 4, 9, 10])
async def test_every_event_after_since_follows(ws, project, seen):
    writer, positions = await room_of(ws, project, 10)
    client = await ws()
    joined = await client.join(project, since=positions[seen])
    assert (joined["resume"], joined["replay"]) == ("complete", 10 - seen)
    assert since(joined) == positions[10]
    await writer.say(project, "live")
    events = await client.events(11 - seen)
    assert [e["seq"] for e in events] == list(range(seen + 1, 12))
    assert events[-1]["data"] == {"text": "live"}


async def test_replayed_events_are_the_events_as_sent(ws, project):
    writer, back = await ws(), await ws()
    joined = await writer.join(project)
    for n in range(5):
        await writer.say(project, str(n), meta={"n": n})
    live = await writer.events(5)
    await back.join(project, since=since(joined))
    assert await back.events(5) == live


@pytest.mark.parametrize("position", [{"eventId": ""}, {"eventId": None}], ids=["empty", "missing"])
async def test_an_empty_or_missing_event_id_is_not_checked(ws, project, position):
    _, positions = await room_of(ws, project, 3)
    position = {k: v for k, v in (positions[2] | position).items() if v is not None}
    client = await ws()
    joined = await client.join(project, since=position)
    assert (joined["resume"], joined["replay"]) == ("complete", 1)
    assert await client.texts(1) == ["3"]


async def test_replay_counts_what_the_subscriptions_leave_out(ws, project):
    writer = await ws()
    joined = await writer.join(project, events=[])
    for n in range(5):
        await writer.say(project, str(n))
        await writer.trigger(project, "task-moved", {"task": n, "column": "c"})
    client = await ws()
    again = await client.join(project, since=since(joined), events=["task-moved"])
    assert (again["resume"], again["replay"]) == ("complete", 10)
    assert [e["seq"] for e in await client.events(5)] == [2, 4, 6, 8, 10]
    none = await ws()
    assert (await none.join(project, since=since(joined), events=[]))["replay"] == 10
    await none.silence(0.1)


async def test_joining_again_replays_when_asked_to(ws, project):
    writer, positions = await room_of(ws, project, 4)
    client = await ws()
    await client.join(project)
    joined = await client.join(project, since=positions[2])
    assert (joined["resume"], joined["replay"]) == ("complete", 2)
    await writer.say(project, "live")
    assert await client.texts(3) == ["3", "4", "live"]
    await client.silence(0.1)


# --- lost ---

@pytest.mark.parametrize("change", [
    {"epoch": "another"},
    {"epoch": ""},
    {"eventId": "another"},
    {"seq": 4},
    {"seq": 1_000_000, "eventId": ""},
    {"seq": 6, "eventId": ""},
    {"seq": 2**63, "eventId": ""},
], ids=str)
async def test_a_position_that_is_not_in_the_log_is_lost(ws, project, change):
    writer, positions = await room_of(ws, project, 5)
    client = await ws()
    joined = await client.join(project, since=positions[5] | change)
    assert joined["resume"] == "lost"
    assert since(joined) == positions[5]
    await writer.say(project, "live")
    assert await client.texts(1) == ["live"]
    await client.silence(0.1)


async def test_what_retention_holds_can_be_resumed(ws, own):
    writer = await ws(own)
    joined = await writer.join("synced", events=[])
    await writer.next("history")
    oks = [None] + [await writer.say("synced", str(n)) for n in range(1, 46)]
    client = await ws(own)
    again = await client.join("synced", since=at(joined, oks[25]))
    assert (again["resume"], again["replay"]) == ("complete", 20)
    assert [e["seq"] for e in await client.events(20)] == list(range(26, 46))
    for seen in (24, 1):
        late = await ws(own)
        assert (await late.join("synced", since=at(joined, oks[seen])))["resume"] == "lost"
        assert [e["seq"] for e in (await late.next("history"))["events"]] == list(range(36, 46))
        await late.silence(0.1)


async def test_a_restart_in_memory_is_a_new_epoch(ws, start):
    server = start()
    client = await ws(server)
    before = await client.join("chat")
    ok = await client.say("chat")
    server.stop()
    back = await ws(start())
    after = await back.join("chat", since=at(before, ok))
    assert after["resume"] == "lost" and after["epoch"] != before["epoch"]
    assert (after["seq"], after["eventId"]) == (0, "")


# --- under way ---

async def test_a_reader_that_comes_and_goes_misses_nothing(ws, project):
    writer = await ws()
    position = since(await writer.join(project, events=[]))
    total = 400

    async def write():
        for n in range(1, total + 1):
            await writer.say(project, str(n))

    writing = asyncio.create_task(write())
    seen = []
    while len(seen) < total:
        reader = await ws()
        joined = await reader.join(project, since=position)
        assert joined["resume"] == "complete"
        for _ in range(min(37, total - len(seen))):
            event = await reader.next("event")
            seen.append(event["seq"])
            position = at(joined, event)
        await reader.socket.close()
    await writing
    assert seen == list(range(1, total + 1))


async def test_many_join_during_a_burst(ws, project):
    writer = await ws()
    start_position = since(await writer.join(project, events=[]))
    total = 200

    async def write():
        for n in range(total):
            await writer.send(type="trigger", roomId=project, event="message", data={"text": str(n)})

    async def read(client):
        joined = await client.join(project, since=start_position)
        assert joined["resume"] == "complete"
        return [e["seq"] for e in await client.events(total)]

    readers = [await ws() for _ in range(8)]
    results = await asyncio.gather(write(), *(read(reader) for reader in readers))
    assert all(seen == list(range(1, total + 1)) for seen in results[1:])


# --- latest ---

async def prices(backend, *pairs):
    for symbol, cents in pairs:
        response = await backend.trigger("ticker", "price", {"symbol": symbol, "cents": cents})
        assert response.status_code == 200, response.text


BURST = [("A", 1), ("B", 1), ("A", 2), ("C", 1), ("B", 2), ("A", 3)]


async def test_latest_is_conflated_on_resume(ws, backend):
    client = await ws()
    joined = await client.join("ticker", events=[])
    await prices(backend, *BURST)
    back = await ws()
    again = await back.join("ticker", since=since(joined))
    assert (again["resume"], again["replay"]) == ("complete", 6)
    events = await back.events(3)
    assert [(e["data"]["symbol"], e["data"]["cents"], e["seq"] - joined["seq"]) for e in events] == [("C", 1, 4), ("B", 2, 5), ("A", 3, 6)]
    assert all(e["server"] is True and e["from"] == "system" for e in events)
    await prices(backend, ("A", 4))
    [live] = await back.events(1)
    assert (live["data"], live["seq"]) == ({"symbol": "A", "cents": 4}, joined["seq"] + 7)


async def test_latest_is_conflated_on_a_stream(ws, sse, backend):
    joined = await (await ws()).join("ticker", events=[])
    await prices(backend, *BURST)
    position = "ticker={epoch}.{seq}.{eventId}".format(**joined)
    stream = await sse("ticker", last_event_id=position)
    assert (await stream.joined()).frame["replay"] == 6
    assert [e["data"]["cents"] for e in await stream.events(3)] == [1, 2, 3]


async def test_a_fresh_join_gets_no_latest(ws, backend):
    await prices(backend, *BURST)
    client = await ws()
    assert (await client.join("ticker"))["resume"] == "fresh"
    await client.silence()


async def test_history_holds_every_latest_event(ws, backend):
    client = await ws()
    await client.join("ticker", events=[])
    await prices(backend, *BURST)
    events = (await client.history("ticker", limit=6))["events"]
    assert [(e["data"]["symbol"], e["data"]["cents"]) for e in events] == BURST[::-1]


# --- slow readers ---

async def stalled(ws, server):
    """A client that does not read until it is told to, behind a small receive buffer."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    host, port = server.host.split(":")
    await asyncio.get_running_loop().sock_connect(raw, (host, int(port)))
    return await ws(server, sock=raw, max_queue=1, close_timeout=0.2)


# About 9 KB a frame; with what the kernel holds of each connection, far more than a bounded buffer.
BIG = {"text": "😀" * 2000}
META = {"pad": "p" * 1000}


async def flood(writer, room, count, event="message", data=BIG):
    """Triggers `count` events, some hundreds under way at once."""
    for begin in range(0, count, 200):
        for n in range(begin, min(begin + 200, count)):
            await writer.send(type="trigger", id=f"f{n}", roomId=room, event=event, data=data, meta=META)
        for n in range(begin, min(begin + 200, count)):
            assert (await writer.reply(f"f{n}", timeout=20))["type"] == "ok"


async def test_a_slow_reader_is_cut_and_comes_back_without_loss(ws, own):
    slow, writer = await stalled(ws, own), await ws(own)
    joined = await slow.join("chat")
    await writer.join("chat", events=[])
    total = 0
    while (await writer.expect("members", "members", roomId="chat"))["size"] == 2:
        began = time.monotonic()
        assert total < 950, "it is not cut"
        await flood(writer, "chat", 50)
        total += 50
    try:
        seen = [frame["seq"] for frame in await slow.closed(4409, timeout=20)]
    except AssertionError:
        # For so long the server waits that the close frame is taken.
        took("what comes after the cut", began, 5)
        raise
    assert seen == list(range(1, len(seen) + 1)) and len(seen) < total
    back = await ws(own)
    position = {"epoch": joined["epoch"], "seq": len(seen), "eventId": ""}
    assert (await back.join("chat", since=position))["resume"] == "complete"
    assert [e["seq"] for e in await back.events(total - len(seen))] == list(range(len(seen) + 1, total + 1))


async def test_a_slow_reader_holds_up_nobody(ws, own):
    slow, writer, quick = await stalled(ws, own), await ws(own), await ws(own)
    for client in (slow, quick):
        await client.join("chat", events=["message"])
    await writer.join("chat", events=[])
    reading = asyncio.create_task(quick.events(300, timeout=WAIT))
    await flood(writer, "chat", 300)
    assert [e["seq"] for e in await reading] == list(range(1, 301))


async def test_a_replay_is_read_at_the_readers_pace(ws, own):
    writer = await ws(own)
    joined = await writer.join("chat", events=[])
    await flood(writer, "chat", 950)
    slow = await stalled(ws, own)
    assert (await slow.join("chat", since=since(joined)))["replay"] == 950
    await asyncio.sleep(2)
    assert [e["seq"] for e in await slow.events(950)] == list(range(1, 951))
    await slow.alive()


async def test_ephemeral_events_are_skipped_and_counted(ws, own):
    slow, writer = await stalled(ws, own), await ws(own)
    await slow.join("chat")
    await writer.join("chat", events=[])
    total = 9000
    await flood(writer, "chat", total, "typing", {"active": True})
    events = skipped = 0
    while events + skipped < total:
        frame = await slow.next(timeout=10)
        if frame["type"] == "skipped":
            assert frame["roomId"] == "chat" and frame["count"] >= 1
            skipped += frame["count"]
        else:
            assert frame["event"] == "typing"
            events += 1
    assert skipped > 0 and events + skipped == total, (events, skipped)
    await writer.say("chat", "still here")
    assert await slow.texts(1) == ["still here"]
