"""Triggers and what members see of them: fields, order, delivery classes, dedupe keys, meta, history."""

import asyncio
import json

import pytest

from client import ID, WAIT, bearer, check_event
from deadlines import soon


# --- one event ---

async def test_an_event_and_its_ok(ws, project):
    client, other = await ws(), await ws()
    await client.join(project)
    await other.join(project)
    ok = await client.say(project, "hello")
    assert set(ok) == {"type", "id", "seq", "eventId", "timestamp"}
    assert ID.fullmatch(ok["eventId"])
    mine, theirs = await client.next("event"), await other.next("event")
    assert mine == theirs == {
        "type": "event", "roomId": project, "event": "message", "data": {"text": "hello"}, "from": client.user,
        "timestamp": ok["timestamp"], "eventId": ok["eventId"], "seq": 1,
    }
    assert ok["seq"] == 1


async def test_seq_has_no_holes_and_event_ids_are_new(ws, project):
    client = await ws()
    await client.join(project)
    oks = [await client.say(project, str(n)) for n in range(20)]
    events = await client.events(20)
    assert [ok["seq"] for ok in oks] == [e["seq"] for e in events] == list(range(1, 21))
    assert [ok["eventId"] for ok in oks] == [e["eventId"] for e in events]
    assert len({e["eventId"] for e in events}) == 20


async def test_an_accepted_event_is_in_the_history(ws, project):
    client = await ws()
    await client.join(project, events=[])
    for n in range(20):
        ok = await client.say(project, str(n))
        [newest] = (await client.history(project, limit=1))["events"]
        assert newest["eventId"] == ok["eventId"]


@pytest.mark.parametrize("text", [
    "line\nbreak\r\n", "\u2028\u2029", "nul \u0000 in it", "😀 𝄞", "</script>", "\\u000a", "\"", "\x7f", "é" * 2000, "😀" * 2000,
], ids=lambda text: ascii(text[:12]))
async def test_any_text_comes_through(ws, sse, project, text):
    client, stream = await ws(), await sse(project)
    await stream.joined()
    await client.join(project)
    await client.say(project, text)
    assert await client.texts(1) == [text]
    assert await stream.texts(1) == [text]


async def test_unknown_fields_of_data_are_dropped(ws, project):
    client = await ws()
    await client.join(project)
    await client.trigger(project, "message", {"text": "x", "admin": True, "nested": {"a": [1]}})
    assert (await client.next("event"))["data"] == {"text": "x"}
    assert (await client.history(project))["events"][0]["data"] == {"text": "x"}


# --- order ---

async def test_every_member_sees_one_order(ws, sse, project):
    members = [await ws() for _ in range(5)]
    for member in members:
        await member.join(project)
    stream = await sse(project)
    await stream.joined()
    count = 40

    async def talk(number, member):
        for n in range(count):
            await member.send(type="trigger", roomId=project, event="message", data={"text": f"{number}.{n}"})

    await asyncio.gather(*(talk(number, member) for number, member in enumerate(members)))
    total = count * len(members)
    seen = [await member.events(total, timeout=10) for member in members] + [await stream.events(total)]
    assert all(events == seen[0] for events in seen)
    assert [e["seq"] for e in seen[0]] == list(range(1, total + 1))
    for number, member in enumerate(members):
        own = [e["data"]["text"] for e in seen[0] if e["from"] == member.user]
        assert own == [f"{number}.{n}" for n in range(count)]


async def test_kinds_of_one_connection_keep_their_order(ws):
    client = await ws()
    await client.join("chat")
    for n in range(10):
        await client.send(type="trigger", roomId="chat", event="typing", data={"active": n % 2 == 0})
        await client.send(type="trigger", roomId="chat", event="message", data={"text": str(n)})
    events = await client.events(20)
    assert [e["event"] for e in events] == ["typing", "message"] * 10
    assert [e["data"].get("text") for e in events[1::2]] == [str(n) for n in range(10)]


# --- ephemeral ---

async def test_ephemeral_events_have_no_seq_and_are_in_no_history(ws):
    client = await ws()
    joined = await client.join("chat")
    ok = await client.trigger("chat", "typing", {"active": True})
    assert set(ok) == {"type", "id", "eventId", "timestamp"}
    event = await client.next("event")
    check_event(event, durable=False)
    assert (event["eventId"], event["data"]) == (ok["eventId"], {"active": True})
    assert (await client.say("chat"))["seq"] == joined["seq"] + 1
    check_event(await client.next("event"), durable=True)
    assert all(e["event"] != "typing" for e in (await client.history("chat", limit=200))["events"])
    assert (await client.history("chat", event="typing"))["events"] == []


async def test_ephemeral_events_are_not_replayed(ws):
    client = await ws()
    joined = await client.join("chat")
    await client.trigger("chat", "typing", {"active": True})
    await client.say("chat", "after typing")
    back = await ws()
    again = await back.join("chat", since={k: joined[k] for k in ("epoch", "seq", "eventId")})
    assert (again["resume"], again["replay"]) == ("complete", 1)
    assert await back.texts(1) == ["after typing"]
    await back.silence(0.1)


# --- dedupe keys ---

async def test_a_key_makes_a_retry_harmless(ws, project):
    client, other = await ws(), await ws()
    await client.join(project)
    await other.join(project)
    first = await client.say(project, "once", key="k1")
    assert "duplicate" not in first
    again = await client.say(project, "once", key="k1")
    changed = await client.say(project, "something else", key="k1")
    for ok in (again, changed):
        assert ok["duplicate"] is True
        assert all(ok[field] == first[field] for field in ("seq", "eventId", "timestamp"))
    assert "duplicate" not in await client.say(project, "twice", key="k2")
    assert await other.texts(2) == await client.texts(2) == ["once", "twice"]
    assert len((await client.history(project))["events"]) == 2


async def test_a_key_outlives_its_connection(ws, project):
    client = await ws()
    await client.join(project)
    first = await client.say(project, "once", key="k")
    await client.close()
    back = await ws(additional_headers=bearer(client.connected["anonymousToken"]))
    await back.join(project)
    again = await back.say(project, "once", key="k")
    assert (again["duplicate"], again["seq"]) == (True, first["seq"])


async def test_a_key_is_of_one_user_and_one_instance(ws, projects):
    one, two, here, there = await ws(), await ws(), projects(), projects()
    for client in (one, two):
        await client.join(here)
        await client.join(there)
    oks = [await client.say(room, key="k") for client in (one, two) for room in (here, there)]
    assert not any("duplicate" in ok for ok in oks)
    assert [ok["seq"] for ok in oks] == [1, 1, 2, 2]


async def test_a_refused_trigger_uses_no_key(ws, project):
    client = await ws()
    await client.join(project)
    await client.fails("VALIDATION_FAILED", "trigger", roomId=project, event="message", data={"text": ""}, key="k")
    assert "duplicate" not in await client.say(project, key="k")


async def test_pipelined_retries_are_one_event(ws, project):
    client = await ws()
    await client.join(project, events=[])
    for id in range(1, 21):
        await client.send(type="trigger", id=id, roomId=project, event="message", data={"text": "x"}, key="same")
    oks = [await client.next("ok") for _ in range(20)]
    assert sum("duplicate" in ok for ok in oks) == 19
    assert len({(ok["seq"], ok["eventId"]) for ok in oks}) == 1


async def test_the_length_of_a_key(ws, project):
    client = await ws()
    await client.join(project)
    await client.say(project, key="k" * 128)
    await client.say(project, key="é" * 64)
    for key in ("k" * 129, "é" * 65):
        error = await client.request("trigger", roomId=project, event="message", data={"text": "x"}, key=key)
        assert error["type"] == "error" and error["code"] in ("INVALID_REQUEST", "TOO_LARGE"), error
    assert len((await client.history(project))["events"]) == 2


# --- meta ---

def meta_of(size):
    empty = json.dumps({"x": ""}, separators=(",", ":"))
    return {"x": "m" * (size - len(empty))}


@pytest.mark.parametrize("meta", [{"trace": "abc", "n": 1, "deep": {"a": [None, True]}}, {}, meta_of(1024)], ids=["some", "empty", "1 KiB"])
async def test_meta_travels_with_the_event(ws, project, meta):
    client = await ws()
    await client.join(project)
    frame = {"type": "trigger", "id": 1, "roomId": project, "event": "message", "data": {"text": "x"}, "meta": meta}
    await client.socket.send(json.dumps(frame, separators=(",", ":")))
    assert (await client.reply(1))["type"] == "ok"
    assert (await client.next("event")).get("meta", {}) == meta
    assert (await client.history(project))["events"][0].get("meta", {}) == meta


async def test_too_much_meta(ws, project):
    client = await ws()
    await client.join(project)
    for size in (1025, 4096):
        error = await client.request("trigger", roomId=project, event="message", data={"text": "x"}, meta=meta_of(size))
        assert error["type"] == "error" and error["code"] in ("INVALID_REQUEST", "TOO_LARGE"), error
    assert (await client.history(project))["events"] == []


def trigger_with_meta(room, meta):
    """The frame as text: `meta` may be what no encoder writes."""
    return '{"type":"trigger","id":1,"roomId":"%s","event":"message","data":{"text":"x"},"meta":%s}' % (room, meta)


@pytest.mark.parametrize("meta, handed_on", [
    ('{"b":1.50,"a":12345678901234567890123,"c":"\\u00e9\\ud83d\\ude00"}',) * 2,
    ('{"b":\n1.50 ,\r\n"a":\t[1 , 2.0e0],"c d":" \\n "}', '{"b":1.50,"a":[1,2.0e0],"c d":" \\n "}'),
    ('{"x":' + " " * 2000 + '"y"}', '{"x":"y"}'),
], ids=["as it came", "without newlines", "white space does not count"])
async def test_meta_keeps_its_names_order_and_values(ws, project, meta, handed_on):
    client = await ws()
    await client.join(project)
    await client.socket.send(trigger_with_meta(project, meta))
    texts = [await soon("a frame", client.socket.recv(), WAIT) for _ in range(2)]
    assert '"type":"ok"' in texts[0] and texts[1].endswith(f'"meta":{handed_on}}}'), texts


@pytest.mark.parametrize("meta", [
    '{"q":"\\ud83d"}', '{"q":["\\ude00\\ud83d"]}', '{"\\udc00":1}', '{"n":1e999}', '{"n":{"m":[-1e309]}}',
    '{"a":1,"a":2}', '{"a":1,"\\u0061":2}', '{"x":[{"a":1,"b":2,"a":1}]}', '{"n":\n1e999}',
])
async def test_meta_that_some_reader_can_not_read(ws, project, meta):
    client = await ws()
    await client.join(project)
    await client.socket.send(trigger_with_meta(project, meta))
    assert (await client.reply(1))["code"] == "INVALID_REQUEST"
    assert (await client.history(project))["events"] == []
    await client.alive()


# --- history ---

async def test_history_is_newest_first_and_holds_the_events_as_sent(ws, project):
    client = await ws()
    await client.join(project)
    assert await client.request("getHistory", id="h", roomId=project) == {
        "type": "history", "id": "h", "roomId": project, "events": [], "more": False,
    }
    for n in range(5):
        await client.say(project, str(n), meta={"n": n})
    live = await client.events(5)
    history = await client.history(project)
    assert history["events"] == live[::-1] and history["more"] is False


async def walk(page, limit):
    """All pages, from the newest to the end."""
    events, before = [], {}
    for _ in range(100):
        history = await page(limit=limit, **before)
        assert len(history["events"]) <= limit
        events += history["events"]
        if not history["more"]:
            return events
        assert events == [] or history["next"] <= events[-1]["seq"]
        before = {"before": history["next"]}
    raise AssertionError("paging does not end")


@pytest.mark.parametrize("limit", [1, 7, 25, 200])
async def test_history_by_pages(ws, project, limit):
    client = await ws()
    await client.join(project, events=[])
    for n in range(25):
        await client.say(project, str(n))
    events = await walk(lambda **page: client.history(project, **page), limit)
    assert [e["seq"] for e in events] == list(range(25, 0, -1))


async def test_a_page_says_where_the_next_one_goes_on(ws, project):
    client = await ws()
    await client.join(project, events=[])
    for n in range(5):
        await client.say(project, str(n))
    page = await client.history(project, limit=2)
    assert page["more"] is True and page["next"] == 4
    page = await client.history(project, limit=2, before=page["next"])
    assert [e["seq"] for e in page["events"]] == [3, 2] and page["next"] == 2
    page = await client.history(project, limit=2, before=page["next"])
    assert [e["seq"] for e in page["events"]] == [1] and page["more"] is False and "next" not in page


async def test_before_and_limit(ws, project):
    client = await ws()
    await client.join(project, events=[])
    for n in range(60):
        await client.say(project, str(n))
    page = await client.history(project)
    assert len(page["events"]) <= 50 and page["more"] is True
    page = await client.history(project, before=41, limit=3)
    assert [e["seq"] for e in page["events"]][0] == 40 and len(page["events"]) <= 3 and page["more"] is True
    assert await client.history(project, before=1) | {"id": 0} == {
        "type": "history", "id": 0, "roomId": project, "events": [], "more": False,
    }
    assert (await client.history(project, before=10**9, limit=1))["events"][0]["seq"] == 60


async def test_history_of_one_event(ws, project):
    client = await ws()
    await client.join(project, events=[])
    for n in range(10):
        await client.say(project, str(n))
        await client.trigger(project, "task-moved", {"task": n, "column": "c"})
    events = await walk(lambda **page: client.history(project, event="task-moved", **page), 3)
    assert [e["seq"] for e in events] == list(range(20, 0, -2))
    await client.fails("EVENT_NOT_ALLOWED", "getHistory", roomId=project, event="typing")


async def test_history_ignores_the_subscriptions(ws, project):
    client = await ws()
    await client.join(project, events=[])
    await client.say(project)
    assert len((await client.history(project))["events"]) == 1


async def test_retention(ws, own):
    client = await ws(own)
    await client.join("synced", events=[])
    await client.next("history")
    for n in range(45):
        await client.say("synced", str(n))
    events = await walk(lambda **page: client.history("synced", **page), 200)
    assert [e["seq"] for e in events] == list(range(45, 25, -1))
