"""`GET /metrics`: on, without a token, in Prometheus' text."""

import re

import pytest

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


async def test_names_and_labels(ws, own, http_to, project):
    http = await http_to(own)
    client, other = await ws(own), await ws(own)
    await client.join(project)
    await other.join(project)
    for n in range(3):
        await client.say(project, str(n))
    await client.events(3)
    text = await metrics(http)
    assert value(text, "dialogue_connections_total") == 2
    assert value(text, "dialogue_connections_active") == 2
    assert value(text, "dialogue_events_total", room="project", event="message") == 3
    assert value(text, "dialogue_rooms_size", room="project") == 2
    assert re.search(r'^dialogue_events_latency_seconds_count\{[^}]*event="message"[^}]*\} 3', text, re.M)
    assert project not in text
