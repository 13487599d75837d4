"""The servers and clients that the tests share. See README.md for how to run them."""

import asyncio
import contextlib
import itertools

import httpx
import pytest

from client import WAIT, Sse, Ws, bearer
from deadlines import soon
from server import SERVER_KEY, Server

pytest_plugins = ["deadlines"]

CAPABILITIES = {"identity", "runtime_rooms", "presence", "limits", "middleware", "push", "metrics", "disk", "redis"}
# Each worker has a server of its own, so numbers need to be new within one process only.
PROJECTS = itertools.count(1000)


def pytest_collection_modifyitems(items):
    for item in items:
        if not CAPABILITIES & {mark.name for mark in item.iter_markers()}:
            item.add_marker("core")


@pytest.fixture(scope="session")
def server():
    """The server that tests share when they leave no trace in it."""
    server = Server(SERVER_KEY=SERVER_KEY)
    yield server
    server.stop()


@pytest.fixture
def start():
    """Starts servers of the test's own: `start(MAX_FRAME="2048")`."""
    with contextlib.ExitStack() as stack:
        def start(**settings):
            server = Server(**settings)
            stack.callback(server.stop)
            return server
        yield start


@pytest.fixture
def own(start):
    """A server of the test's own, with a server key."""
    return start(SERVER_KEY=SERVER_KEY)


@pytest.fixture
def project():
    """A room that nobody has been in: an instance of `project(u64)`."""
    return f"project:{next(PROJECTS)}"


@pytest.fixture
def projects():
    """A maker of such rooms."""
    return lambda: f"project:{next(PROJECTS)}"


async def close_all(clients):
    await asyncio.gather(*(client.close() for client in clients), return_exceptions=True)


@pytest.fixture
async def ws(server, start):  # `start`: sockets close before the servers stop
    """Opens sockets, by default to the shared server; closes them at the end."""
    clients = []

    async def open(to=None, **options):
        clients.append(await Ws.open(to or server, **options))
        return clients[-1]

    yield open
    await close_all(clients)


@pytest.fixture
async def sse(server, start):
    """Opens streams, by default of the shared server; closes them at the end."""
    clients = []

    async def open(*rooms, to=None, **options):
        clients.append(await Sse.open(to or server, *rooms, **options))
        return clients[-1]

    yield open
    await close_all(clients)


class Http(httpx.AsyncClient):
    """Requests to one server; `trigger` is the page's POST."""

    def __init__(self, server, **options):
        super().__init__(base_url=server.url, timeout=None, trust_env=False, **options)

    async def send(self, request, **options):
        return await soon(f"an answer to {request.method} {request.url}", super().send(request, **options), WAIT)

    async def trigger(self, room, event, data, key=None, headers=None, **options):
        headers = dict(headers or {})
        if key is not None:
            headers["Idempotency-Key"] = key
        return await self.post(f"/rooms/{room}/events/{event}", json=data, headers=headers, **options)


@pytest.fixture
async def http(server):
    """HTTP to the shared server."""
    async with Http(server) as client:
        yield client


@pytest.fixture
async def backend(server):
    """HTTP to the shared server, as the application's own backend."""
    async with Http(server, headers=bearer(SERVER_KEY)) as client:
        yield client


@pytest.fixture
async def http_to(start):
    """HTTP to any server."""
    async with contextlib.AsyncExitStack() as stack:
        async def open(server, **options):
            return await stack.enter_async_context(Http(server, **options))
        yield open
