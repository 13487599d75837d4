"""What a stranger needs to speak the protocol: a socket, a stream, and the shapes of their frames."""

import asyncio
import base64
import collections
import hashlib
import hmac
import json
import re
import time
import urllib.parse

import httpx
import websockets
from websockets.asyncio.client import connect as ws_connect

from deadlines import OVERTIME, soon

WAIT = 5
ID = re.compile(r"[A-Za-z0-9_-]+")
EVENT_FIELDS = {"type", "roomId", "event", "data", "from", "timestamp", "eventId"}
STATUS = {
    "INVALID_REQUEST": 400, "UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403, "JOIN_DENIED": 403, "NOT_IN_ROOM": 403,
    "ROOM_NOT_FOUND": 404, "ROOM_EXISTS": 409, "ROOM_FULL": 409, "EVENT_NOT_ALLOWED": 403, "VALIDATION_FAILED": 422,
    "BLOCKED": 422, "TOO_MANY": 409, "RATE_LIMITED": 429, "TOO_LARGE": 413, "UNAVAILABLE": 503, "INTERNAL": 500,
}


def parse(text):
    """A frame as the page has it: one JSON object with a type, without a raw newline."""
    assert isinstance(text, str), "a binary frame"
    assert "\n" not in text and "\r" not in text
    frame = json.loads(text)
    assert isinstance(frame, dict) and isinstance(frame["type"], str)
    if frame["type"] == "event":
        check_event(frame)
    if frame["type"] == "error":
        assert frame["code"] in STATUS, frame
        assert isinstance(frame["message"], str) and frame["message"], frame
    return frame


def check_event(frame, durable=None):
    """The fields of an `event` frame."""
    assert EVENT_FIELDS <= set(frame) <= EVENT_FIELDS | {"seq", "meta", "server"}, frame
    assert all(isinstance(frame[name], str) for name in ("roomId", "event", "from", "eventId"))
    assert ID.fullmatch(frame["eventId"]), frame
    assert abs(frame["timestamp"] / 1000 - time.time()) < 120, frame
    assert frame.get("server", True) is True, "absent or true"
    if "seq" in frame:
        assert isinstance(frame["seq"], int) and frame["seq"] >= 1
    if durable is not None:
        assert ("seq" in frame) == durable, frame


def check_error(response, code):
    """An HTTP failure: its status and an `error` frame as the body."""
    assert (response.status_code, response.json().get("code")) == (STATUS[code], code), response.text
    frame = parse(response.text)
    assert frame["type"] == "error" and "id" not in frame
    return frame


def since(frame):
    """The position that an event, an `ok`-like or a `joined` frame stands for. `joined` has all three parts."""
    return {"epoch": frame["epoch"], "seq": frame["seq"], "eventId": frame["eventId"]}


def at(joined, event):
    """The position right after `event`, in the epoch of `joined`."""
    return {"epoch": joined["epoch"], "seq": event["seq"], "eventId": event["eventId"]}


def unpadded(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def token_subprotocol(token):
    return "dialogue.token." + unpadded(token.encode())


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def jwt(secret, header=None, **claims):
    """An HS256 token, made by hand."""
    parts = [unpadded(json.dumps(part).encode()) for part in (header or {"alg": "HS256", "typ": "JWT"}, claims)]
    signed = ".".join(parts)
    return signed + "." + unpadded(hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest())


def quote(room):
    return urllib.parse.quote(room, safe="")


class Ws:
    """One socket. `next` gives what came unasked, `request` the reply to a frame."""

    def __init__(self, socket):
        self.socket = socket
        self.connected = None
        self.inbox = collections.deque()
        self.ids = 0

    @classmethod
    async def open(cls, server, *, subprotocols=("dialogue.v1",), greet=True, **options):
        options = {"open_timeout": WAIT + OVERTIME, "close_timeout": WAIT, "ping_interval": None, "max_size": None,
                   "compression": None, "proxy": None} | options
        url = server if isinstance(server, str) else server.ws_url
        self = cls(await soon("a handshake", ws_connect(url, subprotocols=subprotocols, **options), WAIT))
        if greet:
            self.connected = await self.next("connected")
        return self

    @property
    def user(self):
        return self.connected["userId"]

    async def send(self, **frame):
        await self.socket.send(json.dumps(frame))

    async def _read(self, timeout):
        return parse(await soon("a frame", self.socket.recv(), timeout))

    async def next(self, type=None, timeout=WAIT):
        """The next frame that is no reply to a request."""
        frame = self.inbox.popleft() if self.inbox else await self._read(timeout)
        assert type is None or frame["type"] == type, frame
        return frame

    async def reply(self, id, timeout=WAIT):
        """The frame with that id; what comes before it waits in the inbox."""
        for frame in self.inbox:
            if frame.get("id") == id:
                self.inbox.remove(frame)
                return frame
        while True:
            frame = await self._read(timeout)
            if frame.get("id") == id and type(frame.get("id")) is type(id):
                return frame
            self.inbox.append(frame)

    async def request(self, type, id=None, timeout=WAIT, **fields):
        if id is None:
            self.ids += 1
            id = self.ids
        await self.send(type=type, id=id, **fields)
        return await self.reply(id, timeout)

    async def expect(self, reply, type, **fields):
        frame = await self.request(type, **fields)
        assert frame["type"] == reply, frame
        return frame

    async def fails(self, code, type, **fields):
        """The request is refused with that code."""
        frame = await self.request(type, **fields)
        assert (frame["type"], frame.get("code")) == ("error", code), frame
        return frame

    async def join(self, room, **fields):
        frame = await self.expect("joined", "join", roomId=room, **fields)
        assert frame["roomId"] == room
        return frame

    async def leave(self, room):
        return await self.expect("left", "leave", roomId=room)

    async def trigger(self, room, event, data, **fields):
        return await self.expect("ok", "trigger", roomId=room, event=event, data=data, **fields)

    async def say(self, room, text="hi", **fields):
        return await self.trigger(room, "message", {"text": text}, **fields)

    async def history(self, room, **fields):
        frame = await self.expect("history", "getHistory", roomId=room, **fields)
        assert frame["roomId"] == room and isinstance(frame["more"], bool)
        return frame

    async def events(self, count, timeout=WAIT):
        return [await self.next("event", timeout) for _ in range(count)]

    async def texts(self, count):
        return [event["data"]["text"] for event in await self.events(count)]

    async def silence(self, seconds=0.3):
        """Nothing waits, and nothing comes for a moment."""
        assert not self.inbox, list(self.inbox)
        try:
            async with asyncio.timeout(seconds):
                frame = parse(await self.socket.recv())
        except TimeoutError:
            return
        raise AssertionError(f"unexpected {frame}")

    async def alive(self):
        """The connection still answers."""
        await self.fails("INVALID_REQUEST", "no-such-type")

    async def closed(self, code, timeout=WAIT):
        """The server closes with that code; what came before it."""
        async def read():
            frames = list(self.inbox)
            try:
                while True:
                    frames.append(parse(await self.socket.recv()))
            except websockets.ConnectionClosed as closed:
                got = closed.rcvd.code if closed.rcvd else f"no close frame ({closed})"
                assert got == code, f"closed with {got}, not {code}"
            return frames

        return await soon("the close", read(), timeout)

    async def close(self):
        await self.socket.close()


class Item(dict):
    """One server-sent event: its lines by field, and its data as a frame."""

    @property
    def frame(self):
        frame = parse(self["data"])
        return frame

    @property
    def positions(self):
        """The position of each room that the id lists."""
        positions = {}
        for part in self["id"].split(";"):
            room, _, position = part.partition("=")
            epoch, seq, event_id = position.split(".")
            assert not set("=;. ") & set(room)
            positions[urllib.parse.unquote(room)] = {"epoch": epoch, "seq": int(seq), "eventId": event_id}
        return positions


class Sse:
    """One stream, read by a task: `next` gives its events; `comments` and `retries` gather the rest."""

    def __init__(self):
        self.comments, self.retries = [], []
        self.queue = asyncio.Queue()
        self.comment = asyncio.Event()
        self.id = None

    @classmethod
    async def open(cls, server, *rooms, events=(), since=None, last_event_id=None, headers=None, extensions=None):
        self = cls()
        params = [("room", room) for room in rooms] + [("event", event) for event in events]
        if since is not None:
            params.append(("since", since))
        headers = {"Accept": "text/event-stream"} | (headers or {})
        if last_event_id is not None:
            headers["Last-Event-ID"] = last_event_id
        self.client = httpx.AsyncClient(timeout=None, trust_env=False)
        request = self.client.build_request("GET", server.url + "/events", params=params, headers=headers, extensions=extensions)
        self.response = await soon("a head", self.client.send(request, stream=True), WAIT)
        self.task = None
        if self.response.status_code == 200:
            self.task = asyncio.create_task(self._read())
        else:
            await self.response.aread()
        return self

    async def _read(self):
        buffer, fields = b"", {}
        try:
            async for chunk in self.response.aiter_raw():
                buffer += chunk
                while b"\n" in buffer:
                    line, buffer = buffer.split(b"\n", 1)
                    line = line.removesuffix(b"\r").decode()
                    if not line:
                        if "data" in fields:
                            self.queue.put_nowait(Item(fields))
                        fields = {}
                    elif line.startswith(":"):
                        self.comments.append(line)
                        self.comment.set()
                    else:
                        name, _, value = line.partition(":")
                        value = value.removeprefix(" ")
                        if name == "retry":
                            self.retries.append(value)
                            continue
                        assert name in ("id", "event", "data"), line
                        assert name not in fields, f"two {name} lines in one event"
                        fields[name] = value
            self.queue.put_nowait(None)
        except httpx.TransportError:
            self.queue.put_nowait(None)
        except Exception as error:
            self.queue.put_nowait(error)

    async def next(self, event=None, timeout=WAIT):
        assert self.task, f"no stream but {self.response.status_code}: {self.response.text}"
        item = await soon("a part of the stream", self.queue.get(), timeout)
        if isinstance(item, Exception):
            raise item
        assert item is not None, "the stream ended"
        assert event is None or item["event"] == event, item
        if "id" in item:
            self.id = item["id"]
        return item

    async def joined(self):
        return await self.next("dialogue:joined")

    async def events(self, count):
        items = [await self.next() for _ in range(count)]
        for item in items:
            frame = item.frame
            assert frame["type"] == "event" and frame["event"] == item["event"], item
        return [item.frame for item in items]

    async def texts(self, count):
        return [event["data"]["text"] for event in await self.events(count)]

    async def ended(self, timeout=WAIT):
        """The items up to the stream's end."""
        async def read():
            items = []
            while (item := await self.queue.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                items.append(item)
            return items

        return await soon("the end of the stream", read(), timeout)

    async def silence(self, seconds=0.3):
        try:
            item = await asyncio.wait_for(self.queue.get(), seconds)
        except TimeoutError:
            return
        raise AssertionError(f"unexpected {item}")

    async def close(self):
        if self.task:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
        await self.response.aclose()
        await self.client.aclose()
