"""Errors: validation and its JSON Pointers, events that a client may not send, and that nothing of a refused event stays."""

import pytest


async def refused(ws, room, event, data):
    """The details of a VALIDATION_FAILED."""
    client = await ws()
    joined = await client.join(room)
    error = await client.fails("VALIDATION_FAILED", "trigger", roomId=room, event=event, data=data)
    assert error["details"], error
    for detail in error["details"]:
        assert set(detail) == {"path", "message"} and isinstance(detail["message"], str) and detail["message"]
        assert detail["path"] == "" or detail["path"].startswith("/")
    assert (await client.join(room))["seq"] == joined["seq"]
    assert not client.inbox
    return error["details"]


@pytest.mark.parametrize("text", ["", "x" * 2001, "é" * 2001, "😀" * 2001, 5, True, None, ["x"], {"text": "x"}], ids=lambda t: ascii(t)[:12])
async def test_a_bad_text(ws, project, text):
    [detail] = await refused(ws, project, "message", {"text": text})
    assert detail["path"] == "/text"


@pytest.mark.parametrize("data", [{}, {"Text": "x"}, {"txt": "x"}])
async def test_a_missing_field(ws, project, data):
    [detail] = await refused(ws, project, "message", data)
    assert detail["path"] in ("", "/text") and "text" in detail["path"] + detail["message"]


@pytest.mark.parametrize("data", ["hello", 5, [], True, ["x"]], ids=str)
async def test_data_that_is_no_object(ws, project, data):
    await refused(ws, project, "message", data)


@pytest.mark.parametrize("data, path", [
    ({"task": "7", "column": "c"}, "/task"), ({"task": 1.5, "column": "c"}, "/task"), ({"task": None, "column": "c"}, "/task"),
    ({"task": 7, "column": 5}, "/column"), ({"task": 10**30, "column": "c"}, "/task"),
], ids=str)
async def test_the_path_names_the_field(ws, project, data, path):
    [detail] = await refused(ws, project, "task-moved", data)
    assert detail["path"] == path


@pytest.mark.parametrize("data", [{"active": "yes"}, {"active": 1}, {"active": None}])
async def test_ephemeral_events_are_validated(ws, data):
    [detail] = await refused(ws, "chat", "typing", data)
    assert detail["path"] == "/active"


@pytest.mark.parametrize("text", ["x", "x" * 2000, "é" * 2000])
async def test_the_bounds_are_characters(ws, project, text):
    client = await ws()
    await client.join(project)
    await client.say(project, text)


async def test_a_lone_surrogate_is_no_text(ws, project):
    client = await ws()
    await client.join(project)
    await client.socket.send(
        '{"type":"trigger","id":1,"roomId":"%s","event":"message","data":{"text":"\\ud800"}}' % project
    )
    error = await client.next("error")
    assert error["code"] in ("INVALID_REQUEST", "VALIDATION_FAILED")
    assert (await client.history(project))["events"] == []


@pytest.mark.parametrize("room, event", [
    ("chat", "price"), ("chat", ""), ("chat", "Message"), ("chat", "*"), ("chat", "task-moved"),
    ("ticker", "price"), ("ticker", "message"), ("alerts", "alert"),
])
async def test_events_that_a_client_may_not_send(ws, room, event):
    client = await ws()
    await client.join(room)
    await client.fails("EVENT_NOT_ALLOWED", "trigger", roomId=room, event=event, data={"symbol": "A", "cents": 1})


async def test_an_error_echoes_the_id(ws, project):
    client = await ws()
    for id in ("my-id", 12):
        error = await client.request("trigger", id=id, roomId=project, event="message", data={"text": "x"})
        assert (error["id"], error["code"]) == (id, "NOT_IN_ROOM")
        error = await client.request("join", id=id, roomId="nowhere")
        assert (error["id"], error["code"]) == (id, "ROOM_NOT_FOUND")


async def test_many_errors_do_not_close_the_connection(ws):
    client = await ws()
    for _ in range(300):
        await client.socket.send("{")
    for _ in range(300):
        assert (await client.next("error"))["code"] == "INVALID_REQUEST"
    await client.alive()
