"""`GET /metrics`: on, without a token, in Prometheus' text."""

import asyncio

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from client import WAIT
from deadlines import soon

pytestmark = pytest.mark.metrics


async def metrics(http):
    response = await http.get("/metrics")
    assert response.status_code == 200
    return response.text


def value(text, name, **labels):
    for line in text.splitlines():
        if line.startswith(name + ("{" if labels else " ")) and all(f'{k}="{v}"' in line for k, v in labels.items()):
            return float(line.split()[-1])
    return None


async def counted(http, is_there):
    """The metrics once that is there: what is delivered is counted a moment after its reader may have it."""
    async def scraping():
        while not is_there(text := await metrics(http)):
            await asyncio.sleep(0.02)
        return text

    return await soon("what was delivered is counted", scraping(), WAIT)


async def test_names_and_labels(ws, own, http_to, project):
    http = await http_to(own)
    client, other = await ws(own), await ws(own)
    await client.join(project)
    await other.join(project)
    for n in range(3):
        await client.say(project, str(n))
    await client.events(3)
    def latencies(text):
        return value(text, "dialogue_events_latency_seconds_count", room="project", event="message")

    text = await counted(http, lambda text: latencies(text) >= 3)
    assert value(text, "dialogue_connections_total") == 2
    assert value(text, "dialogue_connections_active") == 2
    assert value(text, "dialogue_events_total", room="project", event="message") == 3
    assert value(text, "dialogue_rooms_size", room="project") == 2
    assert latencies(text) == 3
    assert project not in text


def samples(text):
    """What two strict readers of the page find, which has to be the same."""
    found = {(s.name, tuple(sorted(s.labels.items()))): s.value
             for family in openmetrics.text_string_to_metric_families(text) for s in family.samples}
    lenient = {(s.name, tuple(sorted(s.labels.items()))): s.value
               for family in text_string_to_metric_families(text) for s in family.samples}
    assert found == lenient
    return found


def pick(found, name, **labels):
    return found[name, tuple(sorted(labels.items()))]


async def test_a_scrape_under_load(ws, own, http_to, projects):
    """Every scrape can be read, counts never fall, and in the end they are what was sent."""
    http = await http_to(own)
    clients, rooms, each = [await ws(own) for _ in range(8)], [projects() for _ in range(4)], 100
    for n, client in enumerate(clients):
        await client.join(rooms[n % 4])

    async def talk(n, client):
        for text in range(each):
            await client.say(rooms[n % 4], str(text))

    async def scrape(seen):
        while not all_is_said.is_set() or len(seen) <= 2:
            response = await http.get("/metrics")
            assert response.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
            seen.append(pick(samples(response.text), "dialogue_events_total", room="project", event="message"))
            await asyncio.sleep(0)

    seen, all_is_said = [], asyncio.Event()
    scraping = asyncio.create_task(scrape(seen))
    await asyncio.gather(*(talk(n, client) for n, client in enumerate(clients)))
    await asyncio.gather(*(client.events(2 * each) for client in clients))
    all_is_said.set()
    await scraping
    assert len(seen) > 2 and seen == sorted(seen)

    sent = len(clients) * each
    message = {"room": "project", "event": "message"}

    def is_there(text):
        found = samples(text)
        latencies = pick(found, "dialogue_events_latency_seconds_count", **message)
        return latencies >= sent and pick(found, "dialogue_deliveries_total", room="project") >= 2 * sent

    found = samples(await counted(http, is_there))
    assert pick(found, "dialogue_events_total", **message) == sent
    assert pick(found, "dialogue_events_latency_seconds_count", **message) == sent
    assert pick(found, "dialogue_events_latency_seconds_bucket", **message, le="+Inf") == sent
    assert 0 < pick(found, "dialogue_events_latency_seconds_sum", **message) < 60 * sent
    assert pick(found, "dialogue_triggers_total", room="project", channel="websocket", outcome="accepted") == sent
    assert pick(found, "dialogue_deliveries_total", room="project") == 2 * sent
    assert pick(found, "dialogue_rooms_size", room="project") == len(clients)
    assert pick(found, "dialogue_rooms_instances", room="project") == len(rooms)


async def test_outcomes(ws, own, http_to, project):
    """Each trigger is counted once, by what became of it."""
    http, client = await http_to(own), await ws(own)
    await client.join(project)
    for data, key in ({"text": "1"}, "k"), ({"text": "1"}, "k"), ({"text": ""}, None), ({"text": 7}, None):
        await client.send(type="trigger", id=1, roomId=project, event="message", data=data, **({"key": key} if key else {}))
        await client.reply(1)
    for body, status in ({"text": "over HTTP"}, 200), ({"text": ""}, 422):
        response = await http.post(f"/rooms/{project}/events/message", json=body)
        assert response.status_code == status
    await client.join("moderated")
    await client.send(type="trigger", id=2, roomId="moderated", event="message", data={"text": "spam"})
    await client.reply(2)
    found = samples((await http.get("/metrics")).text)
    for room, channel, outcome, count in [
        ("project", "websocket", "accepted", 1), ("project", "websocket", "duplicate", 1),
        ("project", "websocket", "invalid", 2), ("project", "http", "accepted", 1), ("project", "http", "invalid", 1),
        ("moderated", "websocket", "blocked", 1), ("moderated", "websocket", "accepted", 0),
    ]:
        labels = {"room": room, "channel": channel, "outcome": outcome}
        assert pick(found, "dialogue_triggers_total", **labels) == count, labels
    assert pick(found, "dialogue_refusals_total", channel="websocket", code="VALIDATION_FAILED") == 2
    assert pick(found, "dialogue_refusals_total", channel="http", code="VALIDATION_FAILED") == 1
    assert pick(found, "dialogue_refusals_total", channel="websocket", code="BLOCKED") == 1


async def test_resumes_and_ends(ws, sse, own, http_to, project):
    http = await http_to(own)
    client, leaver = await ws(own), await ws(own)
    joined = await client.join(project)
    stream = await sse(project, to=own)
    await stream.joined()
    await client.say(project, "1")
    await client.events(1)
    since = {"epoch": joined["epoch"], "seq": 0, "eventId": ""}
    await leaver.join(project, since=since)
    await leaver.events(1)
    await leaver.join(project, since={**since, "epoch": "another"})
    await leaver.close()

    def left(text):
        return pick(samples(text), "dialogue_connections_closed_total", channel="websocket", reason="closed")

    await counted(http, left)
    # That scrape may have read of the connections before it read of their ends.
    found = samples(await metrics(http))
    assert [pick(found, "dialogue_resumes_total", room="project", outcome=o) for o in ("fresh", "complete", "lost")] == [2, 1, 1]
    assert pick(found, "dialogue_channel_connections_active", channel="websocket") == 1
    assert pick(found, "dialogue_channel_connections_active", channel="sse") == 1
    assert pick(found, "dialogue_connections_total") == 3
