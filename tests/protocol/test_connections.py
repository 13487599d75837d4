"""Connections below the protocol: what becomes of them when there are too many, and when nobody reads."""

import asyncio
import contextlib
import os
import sys
import time

import httpx
import pytest

from client import WAIT, Sse, check_error
from deadlines import soon

try:
    import resource
except ImportError:
    resource = None

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks the Linux kernel")


def leave_descriptors(server, count):
    """Lets the server open so many more files."""
    pid = server.process.pid
    limit = max(int(fd) for fd in os.listdir(f"/proc/{pid}/fd")) + 1 + count
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, limit))


async def promptly(ask):
    """What `ask` yields, which is given what to trace its request with. Where descriptors are scarce, a connection is over
    unless its request comes within 250 ms: who was held up for longer asks again."""
    while True:
        began, sent = time.monotonic(), None

        async def trace(name, _):
            nonlocal sent
            if name == "http11.send_request_headers.complete":
                sent = time.monotonic()

        try:
            return await ask({"trace": trace})
        except httpx.TransportError:
            if (sent or time.monotonic()) - began < 0.25:
                raise


@linux
async def test_health_answers_when_there_are_no_descriptors_left(start, http_to):
    server = start()
    async with contextlib.AsyncExitStack() as stack:
        # What takes them is in use: streams that are read, and connections that say nothing.
        leave_descriptors(server, 20)
        streams, refused = [], None
        for _ in range(40):
            stream = await promptly(lambda extensions: Sse.open(server, "chat", extensions=extensions))
            stack.push_async_callback(stream.close)
            assert stream.response.status_code == 200
            item = await stream.next()
            if item["event"] == "dialogue:error":
                refused = stream, item
                break
            streams.append(stream)
        assert refused and len(streams) >= 10
        # A stream too many is told to come back.
        stream, item = refused
        assert item.frame["code"] == "UNAVAILABLE" and len(stream.retries) == 1
        for _ in range(20):
            _, writer = await asyncio.open_connection(*server.host.split(":"))
            stack.callback(writer.close)

        async def health(extensions):
            http = await http_to(server)
            try:
                return await http.get("/health", extensions=extensions)
            finally:
                await http.aclose()

        for _ in range(20):
            assert (await promptly(health)).status_code == 200
        plain = {"headers": {"Accept": "*/*"}}
        refusal = await promptly(lambda extensions: Sse.open(server, "chat", extensions=extensions, **plain))
        check_error(refusal.response, "UNAVAILABLE")
        for stream in streams:
            await stream.close()

        async def opened():
            while True:
                stream = await promptly(lambda extensions: Sse.open(server, "chat", extensions=extensions))
                item = await stream.next()
                await stream.close()
                if item["event"] != "dialogue:error":
                    return
        await soon("a stream once descriptors are free", opened(), WAIT)
