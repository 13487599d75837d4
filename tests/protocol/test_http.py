"""The HTTP endpoints: triggers, history, health, server keys."""

import asyncio
import json

import pytest

from client import ID, bearer, check_error, quote
from server import SERVER_KEY


# --- triggers ---

async def test_a_trigger(ws, http, project):
    client = await ws()
    await client.join(project)
    response = await http.trigger(project, "message", {"text": "over HTTP"})
    assert response.status_code == 200
    assert response.headers["Content-Type"].split(";")[0] == "application/json"
    ok = response.json()
    assert set(ok) == {"type", "seq", "eventId", "timestamp"} and ok["type"] == "ok"
    event = await client.next("event")
    assert {k: event[k] for k in ("seq", "eventId", "timestamp")} == {k: ok[k] for k in ("seq", "eventId", "timestamp")}
    assert event["data"] == {"text": "over HTTP"} and event["from"].startswith("anon-") and "server" not in event


async def test_an_ephemeral_trigger_has_no_seq(ws, http):
    client = await ws()
    await client.join("chat")
    ok = (await http.trigger("chat", "typing", {"active": True})).json()
    assert set(ok) == {"type", "eventId", "timestamp"}
    assert (await client.next("event"))["eventId"] == ok["eventId"]


async def test_a_room_id_is_percent_encoded(ws, http, project):
    client = await ws()
    await client.join(project)
    for room in (project, quote(project), project.replace("p", "%70", 1)):
        assert (await http.trigger(room, "message", {"text": "x"})).status_code == 200
    assert [e["roomId"] for e in await client.events(3)] == [project] * 3


async def test_from_is_the_user_of_the_token(ws, http, project):
    client = await ws()
    await client.join(project)
    await http.trigger(project, "message", {"text": "x"}, headers=bearer(client.connected["anonymousToken"]))
    assert (await client.next("event"))["from"] == client.user


async def test_idempotency_key(ws, http, project):
    client = await ws()
    await client.join(project)
    mine = bearer(client.connected["anonymousToken"])
    first = (await http.trigger(project, "message", {"text": "once"}, key="k", headers=mine)).json()
    again = (await http.trigger(project, "message", {"text": "once"}, key="k", headers=mine)).json()
    assert "duplicate" not in first and again == first | {"duplicate": True}
    over_ws = await client.say(project, "once", key="k")
    assert over_ws["duplicate"] is True and over_ws["eventId"] == first["eventId"]
    other = bearer((await ws()).connected["anonymousToken"])
    assert "duplicate" not in (await http.trigger(project, "message", {"text": "other"}, key="k", headers=other)).json()
    assert await client.texts(2) == ["once", "other"]


async def test_a_key_of_a_caller_without_a_token_is_common_to_all_such_callers(http, project):
    first = await http.trigger(project, "message", {"text": "once"}, key="k")
    again = await http.trigger(project, "message", {"text": "once"}, key="k")
    assert "duplicate" not in first.json() and again.json() == first.json() | {"duplicate": True}
    events = (await http.get(f"/rooms/{project}/history")).json()["events"]
    assert [event["eventId"] for event in events] == [first.json()["eventId"]]


async def test_a_retry_with_the_token_of_the_id_that_was_made_is_a_duplicate(ws, http, project):
    first = await http.trigger(project, "message", {"text": "once"}, key="k")
    again = await http.trigger(project, "message", {"text": "once"}, key="k")
    for answer in (first, again):
        mine = bearer(answer.headers["Dialogue-Anonymous-Token"])
        third = await http.trigger(project, "message", {"text": "once"}, key="k", headers=mine)
        assert third.json() == first.json() | {"duplicate": True}
        assert "Dialogue-Anonymous-Token" not in third.headers
        client = await ws(additional_headers=mine)
        await client.join(project)
        assert (await client.say(project, "once", key="k"))["eventId"] == first.json()["eventId"]


async def test_keys_of_callers_without_a_token_are_nobody_elses(ws, http, backend, project):
    client = await ws()
    await client.join(project)
    theirs = await client.say(project, "on a socket", key="k")
    stranger = bearer((await ws()).connected["anonymousToken"])
    answers = [await http.trigger(project, "message", {"text": "x"}, key="k", headers=headers) for headers in (None, stranger)]
    answers.append(await backend.trigger(project, "message", {"text": "x"}, key="k"))
    assert len({answer.json()["eventId"] for answer in answers} | {theirs["eventId"]}) == 4
    assert not any("duplicate" in answer.json() for answer in answers)


async def test_who_has_no_token_is_given_one_with_every_answer(http):
    for answer in (await http.get("/rooms"), await http.get("/rooms/nowhere/history"), await http.post("/rooms/chat/events/message")):
        token = answer.headers["Dialogue-Anonymous-Token"]
        assert token.startswith("anon-")
        assert "Dialogue-Anonymous-Token" not in (await http.get("/rooms", headers=bearer(token))).headers
    assert "Dialogue-Anonymous-Token" not in (await http.get("/health")).headers


async def test_the_length_of_an_idempotency_key(ws, http, project):
    await (await ws()).join(project)
    assert (await http.trigger(project, "message", {"text": "x"}, key="k" * 128)).status_code == 200
    assert (await http.trigger(project, "message", {"text": "x"}, key="k" * 129)).status_code in (400, 413)


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_a_trigger_needs_its_content_type(ws, http, project, kind):
    client = await ws()
    await client.join(project)
    headers = {"Content-Type": kind} if kind else {}
    response = await http.post(f"/rooms/{project}/events/message", content=b'{"text":"x"}', headers=headers)
    check_error(response, "INVALID_REQUEST")
    assert (await client.history(project))["events"] == []


async def test_a_content_type_may_have_parameters(ws, http, project):
    await (await ws()).join(project)
    headers = {"Content-Type": "application/json; charset=utf-8"}
    response = await http.post(f"/rooms/{project}/events/message", content=b'{"text":"x"}', headers=headers)
    assert response.status_code == 200


@pytest.mark.parametrize("body", [b"", b"{", b"text", b'{"text":"x"', b"\xff\xfe", b'{"text":"x"} {}'])
async def test_a_body_that_is_no_json(ws, http, project, body):
    await (await ws()).join(project)
    headers = {"Content-Type": "application/json"}
    check_error(await http.post(f"/rooms/{project}/events/message", content=body, headers=headers), "INVALID_REQUEST")


async def in_pieces(body):
    for begin in range(0, len(body), 10_000):
        yield body[begin:begin + 10_000]


@pytest.mark.parametrize("sent", [lambda body: body, in_pieces], ids=["with its length", "chunked"])
async def test_a_body_over_the_frame_limit(ws, http, project, sent):
    await (await ws()).join(project)
    headers = {"Content-Type": "application/json"}
    body = json.dumps({"text": "x", "pad": "p" * 70_000}).encode()
    check_error(await http.post(f"/rooms/{project}/events/message", content=sent(body), headers=headers), "TOO_LARGE")
    body = json.dumps({"text": "x", "pad": "p" * 60_000}).encode()
    assert (await http.post(f"/rooms/{project}/events/message", content=sent(body), headers=headers)).status_code == 200


async def test_the_frame_limit_is_configured(start, http_to):
    http = await http_to(start(MAX_FRAME="2048"))
    check_error(await http.trigger("chat", "message", {"text": "x", "pad": "p" * 2048}), "TOO_LARGE")
    assert (await http.trigger("chat", "message", {"text": "x", "pad": "p" * 1900})).status_code == 200


@pytest.mark.parametrize("room", ["nowhere", "project", "project:042", "project:%2B42", "project:-1", "chat:1", "project%3A"])
async def test_no_such_room(http, room):
    check_error(await http.trigger(room, "message", {"text": "x"}), "ROOM_NOT_FOUND")
    check_error(await http.get(f"/rooms/{room}/history"), "ROOM_NOT_FOUND")


@pytest.mark.parametrize("room, event, data", [
    ("chat", "price", {"symbol": "A", "cents": 1}),
    ("chat", "nothing", {}),
    ("ticker", "price", {"symbol": "A", "cents": 1}),
    ("feed", "new-post", {"title": "x"}),
    ("alerts", "alert", {"service": "a", "detail": "b"}),
    ("limited", "typing", {"active": True}),
])
async def test_events_that_a_client_may_not_send(http, room, event, data):
    check_error(await http.trigger(room, event, data), "EVENT_NOT_ALLOWED")


async def test_validation(http):
    error = check_error(await http.trigger("chat", "message", {"text": ""}), "VALIDATION_FAILED")
    assert [set(detail) for detail in error["details"]] == [{"path", "message"}]
    assert error["details"][0]["path"] == "/text"


@pytest.mark.parametrize("room, event, data", [
    ("quiet", "message", {"text": "x"}), ("synced", "message", {"text": "x"}), ("present", "message", {"text": "x"}),
])
async def test_every_room_can_be_triggered_without_joining_it(http, room, event, data):
    assert (await http.trigger(room, event, data)).status_code == 200


async def test_a_bad_token(http, project):
    check_error(await http.trigger("chat", "message", {"text": "x"}, headers=bearer("nonsense")), "UNAUTHENTICATED")
    check_error(await http.get("/rooms/chat/history", headers=bearer("nonsense")), "UNAUTHENTICATED")


# --- history ---

async def test_history(ws, http, project):
    client = await ws()
    await client.join(project)
    for n in range(5):
        await client.say(project, str(n))
        await client.trigger(project, "task-moved", {"task": n, "column": "c"})
    live = await client.events(10)
    response = await http.get(f"/rooms/{quote(project)}/history")
    assert response.status_code == 200
    assert response.json() == {"type": "history", "roomId": project, "events": live[::-1], "more": False}
    page = (await http.get(f"/rooms/{project}/history?before=8&limit=2")).json()
    assert page["events"] == live[6:4:-1][:len(page["events"])] and page["more"] is True
    page = (await http.get(f"/rooms/{project}/history?event=message&limit=3&before=100")).json()
    assert page["events"] == live[8::-2][:len(page["events"])] and page["more"] is True


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=-1", "limit=x", "before=x", "before=-1", "limit=1.5"])
async def test_a_bad_history_query(http, query):
    check_error(await http.get(f"/rooms/chat/history?{query}"), "INVALID_REQUEST")


async def test_history_of_an_event_that_the_room_does_not_carry(http):
    check_error(await http.get("/rooms/chat/history?event=price"), "EVENT_NOT_ALLOWED")


async def test_history_of_rooms_that_are_on_another_channel(http, backend):
    await backend.trigger("feed", "new-post", {"title": "for HTTP"})
    events = (await http.get("/rooms/feed/history")).json()["events"]
    assert events[0]["data"] == {"title": "for HTTP"} and events[0]["server"] is True
    assert (await http.get("/rooms/quiet/history")).status_code == 200


# --- server keys ---

async def test_a_server_key_acts_as_the_backend(ws, backend, project):
    client = await ws()
    await client.join(project)
    assert (await backend.trigger(project, "message", {"text": "from the backend"})).status_code == 200
    event = await client.next("event")
    assert (event["from"], event["server"]) == ("system", True)
    assert (await client.history(project))["events"] == [event]


async def test_dialogue_from(ws, backend, project):
    client = await ws()
    await client.join(project)
    await backend.trigger(project, "message", {"text": "x"}, headers={"Dialogue-From": "billing"})
    event = await client.next("event")
    assert (event["from"], event["server"]) == ("billing", True)


async def test_dialogue_from_needs_the_key(ws, http, project):
    client = await ws()
    await client.join(project)
    await http.trigger(project, "message", {"text": "x"}, headers={"Dialogue-From": "billing"})
    event = await client.next("event")
    assert event["from"].startswith("anon-") and "server" not in event


@pytest.mark.parametrize("room, event, data", [
    ("feed", "new-post", {"title": "x"}), ("ticker", "price", {"symbol": "Z", "cents": 5}), ("alerts", "alert", {"service": "db", "detail": "x"}),
    ("members", "message", {"text": "x"}), ("small", "message", {"text": "x"}),
])
async def test_a_server_key_triggers_any_event_of_any_room(backend, room, event, data):
    response = await backend.trigger(room, event, data)
    assert response.status_code == 200, response.text
    [newest] = (await backend.get(f"/rooms/{room}/history?limit=1")).json()["events"]
    assert newest["eventId"] == response.json()["eventId"] and newest["data"] == data


async def test_a_server_key_is_validated(backend):
    error = check_error(await backend.trigger("chat", "message", {"text": ""}), "VALIDATION_FAILED")
    assert error["details"][0]["path"] == "/text"
    check_error(await backend.trigger("chat", "price", {"symbol": "A", "cents": 1}), "EVENT_NOT_ALLOWED")
    check_error(await backend.trigger("nowhere", "message", {"text": "x"}), "ROOM_NOT_FOUND")


@pytest.mark.parametrize("key", [SERVER_KEY + "x", SERVER_KEY[:-1], SERVER_KEY.upper()])
async def test_another_key_is_none(http, key):
    check_error(await http.trigger("feed", "new-post", {"title": "x"}, headers=bearer(key)), "UNAUTHENTICATED")


async def test_a_server_key_has_idempotency_keys(backend, project, ws):
    await (await ws()).join(project)
    first = (await backend.trigger(project, "message", {"text": "x"}, key="k")).json()
    assert (await backend.trigger(project, "message", {"text": "x"}, key="k")).json() == first | {"duplicate": True}


async def test_keys_of_a_server_key_are_not_those_of_the_user_that_it_speaks_for(ws, backend, project):
    client = await ws()
    await client.join(project)
    theirs = await client.say(project, "theirs", key="k")
    speaks = {"Dialogue-From": client.user}
    first = (await backend.trigger(project, "message", {"text": "backend"}, key="k", headers=speaks)).json()
    assert "duplicate" not in first and first["eventId"] != theirs["eventId"]
    again = (await backend.trigger(project, "message", {"text": "backend"}, key="k", headers=speaks)).json()
    assert again == first | {"duplicate": True}
    assert (await client.say(project, "theirs", key="k"))["eventId"] == theirs["eventId"]
    other = (await backend.trigger(project, "message", {"text": "x"}, key="k", headers={"Dialogue-From": "billing"})).json()
    assert "duplicate" not in other


# --- what every request has ---

async def test_head_enters_no_room(ws, http, project):
    client = await ws()
    await client.expect("joined", "join", roomId="small")
    for _ in range(3):
        response = await http.head("/events?room=small")
        assert (response.status_code, response.headers["Content-Type"], response.content) == (200, "text/event-stream", b"")
    members = await client.expect("members", "members", roomId="small")
    assert [member["userId"] for member in members["members"]] == [client.user]
    assert (await http.head(f"/events?room={project}")).status_code == 200
    check_error(await http.get(f"/rooms/{project}/history"), "ROOM_NOT_FOUND")


@pytest.mark.parametrize("path, status", [
    ("/events?room=nowhere", 404), ("/events?room=quiet", 404), ("/events", 400), ("/events?room=chat&event=price", 403),
    ("/rooms", 200), ("/rooms/chat/history", 200), ("/health", 200), ("/ws", 405),
])
async def test_head_says_what_get_would(http, path, status):
    response = await http.head(path)
    assert (response.status_code, response.content) == (status, b"")


async def test_401_says_how_to_come(server, http):
    bad = bearer("nonsense")
    asked = [
        await http.trigger("chat", "message", {"text": "x"}, headers=bad),
        await http.get("/rooms", headers=bad),
        await http.get("/rooms/chat/history", headers=bad),
        await http.post("/rooms", json={"roomId": "project:1"}, headers=bad),
        await http.delete("/rooms/project:1", headers=bad),
        await http.get("/events?room=chat", headers=bad),
        await http.head("/events?room=chat", headers=bad),
        await http.get("/ws", headers=bad | {
            "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }),
    ]
    for response in asked:
        assert (response.status_code, response.headers.get("WWW-Authenticate")) == (401, "Bearer"), response.url


@pytest.mark.parametrize("method, path, allowed", [
    ("PUT", "/rooms", {"GET", "HEAD", "POST"}), ("GET", "/rooms/chat", {"DELETE"}), ("POST", "/rooms/chat", {"DELETE"}),
    ("POST", "/rooms/chat/history", {"GET", "HEAD"}), ("GET", "/rooms/chat/events/message", {"POST"}),
    ("POST", "/events", {"GET", "HEAD"}), ("DELETE", "/health", {"GET", "HEAD"}),
])
async def test_a_wrong_method(http, method, path, allowed):
    response = await http.request(method, path)
    assert (response.status_code, set(response.headers["Allow"].split(","))) == (405, allowed)


# --- health ---

async def test_health(http):
    response = await http.get("/health")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


# --- under load ---

async def test_many_at_once(ws, http, project):
    client = await ws()
    await client.join(project)
    responses = await asyncio.gather(*(http.trigger(project, "message", {"text": str(n)}) for n in range(50)))
    assert sorted(r.json()["seq"] for r in responses) == list(range(1, 51))
    assert all(ID.fullmatch(r.json()["eventId"]) for r in responses)
    assert [e["seq"] for e in await client.events(50)] == list(range(1, 51))
