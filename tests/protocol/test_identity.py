"""Who is it: anonymous users and their tokens, JWTs, roles."""

import asyncio
import time

import pytest
import websockets

from client import WAIT, bearer, check_error, jwt, token_subprotocol
from deadlines import took
from server import SERVER_KEY, Server

SECRET = "a-secret-of-thirty-two-bytes-or-more"


async def handshake_refused(ws, to=None, **options):
    with pytest.raises(websockets.InvalidStatus) as refused:
        await ws(to, **options)
    return refused.value.response


async def assert_unauthenticated(ws, to=None, **options):
    response = await handshake_refused(ws, to, **options)
    assert response.status_code == 401 and b'"UNAUTHENTICATED"' in response.body, response


# --- anonymous ---

@pytest.mark.parametrize("way", ["header", "subprotocol"])
async def test_an_anonymous_token_keeps_the_user(ws, way):
    first = await ws()
    token = first.connected["anonymousToken"]
    assert token != first.user
    if way == "header":
        second = await ws(additional_headers=bearer(token))
    else:
        second = await ws(subprotocols=["dialogue.v1", token_subprotocol(token)])
        assert second.socket.subprotocol == "dialogue.v1"
    assert second.user == first.user and second.connected["clientId"] != first.connected["clientId"]


@pytest.mark.parametrize("other", ["Basic dXNlcjpwYXNzd29yZA==", "Basic", "Digest username=u", "Negotiate YQ"])
async def test_an_authorization_of_another_scheme_is_ignored(ws, sse, http, other):
    """A site behind a password has the browser send it along with everything."""
    headers = {"Authorization": other}
    first = await ws(additional_headers=headers)
    token = token_subprotocol(first.connected["anonymousToken"])
    second = await ws(subprotocols=["dialogue.v1", token], additional_headers=headers)
    assert second.user == first.user
    assert (await sse("chat", headers=headers)).response.status_code == 200
    assert (await http.trigger("chat", "message", {"text": "x"}, headers=headers)).status_code == 200
    assert (await http.get("/rooms", headers=headers)).status_code == 200


@pytest.mark.parametrize("bad", ["Bearer", "Bearer nonsense"])
async def test_a_bearer_without_a_token_of_ours_is_not(http, bad):
    check_error(await http.get("/rooms", headers={"Authorization": bad}), "UNAUTHENTICATED")


async def test_the_order_of_the_subprotocols_is_free(ws):
    token = (await ws()).connected["anonymousToken"]
    client = await ws(subprotocols=[token_subprotocol(token), "dialogue.v1"])
    assert client.socket.subprotocol == "dialogue.v1"


async def test_the_token_alone_is_no_subprotocol(ws):
    token = (await ws()).connected["anonymousToken"]
    assert (await handshake_refused(ws, subprotocols=[token_subprotocol(token)])).status_code == 400


async def test_a_bad_token_in_the_handshake(ws):
    token = (await ws()).connected["anonymousToken"]
    forged = token[:-2] + ("AA" if token[-2:] != "AA" else "BB")
    for bad in ("nonsense", forged, SERVER_KEY):
        await assert_unauthenticated(ws, additional_headers=bearer(bad))
        await assert_unauthenticated(ws, subprotocols=["dialogue.v1", token_subprotocol(bad)])


async def test_a_token_in_the_query_is_ignored(ws, server):
    first = await ws()
    token = first.connected["anonymousToken"]
    second = await ws(f"{server.ws_url}?token={token}&access_token={token}")
    assert second.user != first.user


async def test_a_token_of_another_server_is_bad(ws, own):
    token = (await ws()).connected["anonymousToken"]
    await assert_unauthenticated(ws, own, additional_headers=bearer(token))


async def test_auth_on_a_live_anonymous_socket(ws):
    client, other = await ws(), await ws()
    mine, theirs = client.connected["anonymousToken"], other.connected["anonymousToken"]
    await client.alive()
    assert set(await client.expect("ok", "auth", token=mine)) == {"type", "id"}
    await client.fails("UNAUTHENTICATED", "auth", token="nonsense")
    await client.fails("PERMISSION_DENIED", "auth", token=theirs)
    await client.alive()


async def test_tokens_go_to_nobody_else(ws, project):
    one, two = await ws(), await ws()
    await one.join(project)
    await two.join(project)
    await one.say(project)
    event = str(await two.next("event"))
    assert one.connected["anonymousToken"] not in event and one.user in event


@pytest.mark.identity
async def test_anonymous_users_have_no_role(ws, http):
    await (await ws()).fails("JOIN_DENIED", "join", roomId="members")
    check_error(await http.trigger("members", "message", {"text": "x"}), "JOIN_DENIED")
    check_error(await http.get("/rooms/members/history"), "JOIN_DENIED")


# --- tokens ---

def token(sub="alice", lives=60, secret=SECRET, **claims):
    return jwt(secret, sub=sub, exp=int(time.time()) + lives, **claims)


async def before_it_ends(attempt):
    """What `attempt` does with a token that ends soon, and when that is. Where the token was over before all was done, the
    server refuses it by right: then `attempt` has another, of more time."""
    for lives in (2, 8, 40):
        ends = int(time.time()) + lives
        try:
            return await attempt(jwt(SECRET, sub="alice", exp=ends)), ends
        except (AssertionError, websockets.WebSocketException):
            if time.time() < ends or lives == 40:
                raise


def until(ends):
    """The limit for what comes at that time."""
    return max(0, ends - time.time()) + WAIT


@pytest.fixture(scope="module")
def guarded():
    """A server that requires a token."""
    server = Server(JWT_SECRET=SECRET, SERVER_KEY=SERVER_KEY)
    yield server
    server.stop()


@pytest.mark.identity
@pytest.mark.parametrize("way", ["header", "subprotocol", "frame"])
async def test_a_token(ws, guarded, way):
    if way == "header":
        client = await ws(guarded, additional_headers=bearer(token()))
    elif way == "subprotocol":
        client = await ws(guarded, subprotocols=["dialogue.v1", token_subprotocol(token())])
    else:
        client = await ws(guarded, greet=False)
        await client.send(type="auth", id="a", token=token())
        client.connected = await client.next("connected")
        assert await client.next() == {"type": "ok", "id": "a"}
    assert client.user == "alice" and "anonymousToken" not in client.connected
    await client.join("chat")
    await client.say("chat")
    assert (await client.next("event"))["from"] == "alice"


BAD = {
    "nonsense": lambda: "nonsense",
    "another secret": lambda: token(secret="another-secret-of-thirty-two-bytes!"),
    "expired": lambda: token(lives=-1),
    "no algorithm": lambda: jwt(SECRET, {"alg": "none", "typ": "JWT"}, sub="alice", exp=int(time.time()) + 60).rpartition(".")[0] + ".",
    "no sub": lambda: jwt(SECRET, exp=int(time.time()) + 60),
    "server key": lambda: SERVER_KEY,
}


@pytest.mark.identity
@pytest.mark.parametrize("bad", BAD)
async def test_a_bad_token(ws, sse, guarded, http_to, bad):
    await assert_unauthenticated(ws, guarded, additional_headers=bearer(BAD[bad]()))
    await assert_unauthenticated(ws, guarded, subprotocols=["dialogue.v1", token_subprotocol(BAD[bad]())])
    check_error((await sse("chat", to=guarded, headers=bearer(BAD[bad]()))).response, "UNAUTHENTICATED")
    client = await ws(guarded, greet=False)
    await client.fails("UNAUTHENTICATED", "auth", token=BAD[bad]())
    await client.closed(4401)
    if bad != "server key":
        http = await http_to(guarded)
        check_error(await http.trigger("chat", "message", {"text": "x"}, headers=bearer(BAD[bad]())), "UNAUTHENTICATED")


@pytest.mark.identity
@pytest.mark.parametrize("sub", ["system", "anon-abc"])
async def test_reserved_users(ws, guarded, sub):
    response = await handshake_refused(ws, guarded, additional_headers=bearer(token(sub)))
    assert response.status_code in (401, 500)


@pytest.mark.identity
async def test_without_a_token(ws, sse, guarded, http_to):
    http = await http_to(guarded)
    check_error(await http.trigger("chat", "message", {"text": "x"}), "UNAUTHENTICATED")
    check_error(await http.get("/rooms/chat/history"), "UNAUTHENTICATED")
    check_error((await sse("chat", to=guarded)).response, "UNAUTHENTICATED")
    assert (await http.get("/health")).status_code == 200
    client = await ws(guarded, greet=False)
    await client.fails("UNAUTHENTICATED", "join", roomId="chat")
    await client.fails("UNAUTHENTICATED", "trigger", roomId="chat", event="message", data={"text": "x"})
    await client.expect("ok", "auth", token=token())
    assert (await client.next("connected"))["userId"] == "alice"
    await client.join("chat")


@pytest.mark.identity
async def test_a_socket_without_a_token_is_closed_after_10_s(ws, guarded):
    began = time.monotonic()
    client = await ws(guarded, greet=False)
    await client.closed(4401, timeout=14)
    assert time.monotonic() - began > 8
    took("the close", began, 13)


@pytest.mark.identity
async def test_an_expired_token_closes_the_socket_and_ends_the_stream(ws, sse, guarded):
    async def attempt(token):
        client = await ws(guarded, additional_headers=bearer(token))
        stream = await sse("chat", to=guarded, headers=bearer(token))
        await stream.joined()
        return client, stream

    (client, stream), ends = await before_it_ends(attempt)
    await client.closed(4401, timeout=until(ends))
    last = (await stream.ended(timeout=until(ends)))[-1]
    assert last["event"] == "dialogue:error" and last.frame["code"] == "UNAUTHENTICATED"


@pytest.mark.identity
async def test_auth_replaces_the_token(ws, guarded):
    async def attempt(first):
        client = await ws(guarded, additional_headers=bearer(first))
        await client.fails("UNAUTHENTICATED", "auth", token=token(lives=-5))
        await client.fails("PERMISSION_DENIED", "auth", token=token("bob"))
        await client.expect("ok", "auth", token=token(lives=600))
        return client

    client, ends = await before_it_ends(attempt)
    await client.join("chat")
    await asyncio.sleep(max(0, ends + 1 - time.time()))
    assert (await client.say("chat"))["seq"] >= 1


@pytest.mark.identity
async def test_a_bad_renewal_leaves_the_old_token_and_its_end(ws, guarded):
    async def attempt(token):
        client = await ws(guarded, additional_headers=bearer(token))
        await client.fails("UNAUTHENTICATED", "auth", token="nonsense")
        await client.alive()
        return client

    client, ends = await before_it_ends(attempt)
    await client.closed(4401, timeout=until(ends))


@pytest.mark.identity
async def test_roles(ws, guarded, http_to):
    http = await http_to(guarded)
    member, other = bearer(token("m", roles=["member"])), bearer(token("o", roles=["admin"]))
    client = await ws(guarded, additional_headers=member)
    await client.join("members")
    assert (await http.trigger("members", "message", {"text": "x"}, headers=member)).status_code == 200
    refused = await (await ws(guarded, additional_headers=other)).fails("JOIN_DENIED", "join", roomId="members")
    assert refused["message"]
    check_error(await http.trigger("members", "message", {"text": "x"}, headers=other), "JOIN_DENIED")
    check_error(await http.get("/rooms/members/history", headers=other), "JOIN_DENIED")
    assert len(await client.events(1)) == 1


@pytest.mark.identity
async def test_a_key_belongs_to_the_user(ws, guarded, project, http_to):
    one, two = [await ws(guarded, additional_headers=bearer(token("kim"))) for _ in range(2)]
    await one.join(project)
    await two.join(project)
    first = await one.say(project, key="k")
    assert (await two.say(project, key="k"))["duplicate"] is True
    http = await http_to(guarded)
    again = (await http.trigger(project, "message", {"text": "x"}, key="k", headers=bearer(token("kim")))).json()
    assert (again["duplicate"], again["seq"]) == (True, first["seq"])


@pytest.mark.identity
async def test_a_server_key_needs_no_token(guarded, http_to):
    backend = await http_to(guarded, headers=bearer(SERVER_KEY))
    assert (await backend.trigger("members", "message", {"text": "x"})).status_code == 200
