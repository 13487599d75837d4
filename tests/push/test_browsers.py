"""What browsers' push services get, read by independent implementations."""

import base64
import json
import os
import pathlib
import queue
import socket
import subprocess
import time

import http_ece
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from py_vapid import Vapid02

from conftest import WAIT, Http
from deadlines import OVERTIME, within


def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class UserAgent:
    """A browser's keys."""

    def __init__(self, private=None, auth=None):
        self.private = ec.derive_private_key(int.from_bytes(private, "big"), ec.SECP256R1()) if private else ec.generate_private_key(ec.SECP256R1())
        self.auth = auth or os.urandom(16)

    def subscription(self, endpoint):
        point = self.private.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
        return {"endpoint": endpoint, "expirationTime": None, "keys": {"p256dh": encode(point), "auth": encode(self.auth)}}

    def decrypt(self, body):
        return http_ece.decrypt(body, private_key=self.private, auth_secret=self.auth, version="aes128gcm")


# RFC 8291, appendix A.
RFC_8291 = {
    "private": decode("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"),
    "auth": decode("BTBZMqHH6r4Tts7J_aSIgg"),
}
RFC_8291_BODY = decode(
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)


def test_the_reader_reads_the_vector_of_rfc_8291():
    assert UserAgent(**RFC_8291).decrypt(RFC_8291_BODY) == b"When I grow up, I want to be a watermelon"


@pytest.mark.parametrize("keys", [RFC_8291, {}], ids=["the vector's keys", "new keys"])
def test_a_push_is_read_by_its_browser_alone(server, service, vapid, keys):
    agent = UserAgent(**keys)
    server.register(agent.subscription(f"{service.url}/push/1"), language="de-AT")
    accepted = server.alert("db", "no answer ✓")
    path, headers, body = service.push()
    headers = {name.lower(): value for name, value in headers.items()}
    assert path == "/push/1" and headers["content-encoding"] == "aes128gcm" and headers["urgency"] == "normal"
    assert 0 < int(headers["ttl"]) <= 86_400
    payload = json.loads(agent.decrypt(body))
    assert (payload["title"], payload["body"]) == ("db is down", "no answer ✓")
    assert (payload["roomId"], payload["event"]) == ("alerts", "alert")
    position = payload["position"]
    assert (position["seq"], position["eventId"]) == (accepted["seq"], accepted["eventId"]) and position["epoch"]
    with pytest.raises(Exception):
        UserAgent().decrypt(body)
    check_signature(headers["authorization"], service.url)


def check_signature(authorization, audience):
    assert Vapid02.verify(authorization)
    token = authorization.split("t=")[1].split(",")[0]
    header, claims = (json.loads(decode(part)) for part in token.split(".")[:2])
    assert header == {"alg": "ES256", "typ": "JWT"}
    assert (claims["aud"], claims["sub"]) == (audience, "mailto:ops@acme.example")
    assert time.time() < claims["exp"] <= time.time() + 86_400


def test_the_public_key_is_the_one_that_signs(server, vapid):
    point = vapid.public_key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    assert decode(server.http.get("/push/key").json()["key"]) == point


def test_a_device_that_is_gone_gets_nothing_more(server, service):
    gone, stays = UserAgent(), UserAgent()
    before = server.forgotten()
    server.register(gone.subscription(f"{service.url}/gone"))
    service.answers.put(410)
    server.alert("db", "first")
    assert service.push()[0] == "/gone"
    # The answer reaches the server later than the push reaches us.
    server.forgets(before + 1)
    server.register(stays.subscription(f"{service.url}/stays"))
    server.alert("db", "second")
    assert service.push()[0] == "/stays"
    with pytest.raises(queue.Empty):
        service.pushes.get(timeout=1)


@pytest.fixture
def testing_service(tmp_path):
    """npm's web-push-testing."""
    script = pathlib.Path(os.environ["NODE_MODULES"]) / "web-push-testing/src/bin/server.js"
    with socket.socket() as kept:
        # Bound and not listening, it keeps the port from others, and leaves it to who may reuse addresses.
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", 0))
        port = kept.getsockname()[1]
        process = subprocess.Popen(["node", script, str(port)], cwd=tmp_path, stdout=subprocess.PIPE)
        assert process.stdout.readline().decode().strip() == f"Server running on port {port}"
        with Http(base_url=f"http://localhost:{port}", trust_env=False) as client:
            yield port, client
        process.terminate()
        process.wait(WAIT + OVERTIME)


def test_the_testing_service_takes_and_reads_it(server, before_tls, testing_service):
    port, client = testing_service
    key = server.http.get("/push/key").json()["key"]
    options = {"userVisibleOnly": "true", "applicationServerKey": key}
    subscribed = client.post("/subscribe", json=options).json()["data"]
    name = subscribed["clientHash"]
    endpoint = subscribed["endpoint"].replace(f"http://localhost:{port}", f"https://localhost:{before_tls(port)}")
    server.register({"endpoint": endpoint, "keys": subscribed["keys"]})
    server.alert("db", "no answer")
    assert [message["title"] for message in messages(client, name, 1)] == ["db is down"]
    client.post(f"/expire-subscription/{name}")
    server.alert("db", "again")
    server.alert("db", "and again")
    assert len(messages(client, name, 1)) == 1


def messages(client, name, count):
    gives_up = time.monotonic() + WAIT + OVERTIME
    with within("a notification", WAIT):
        while time.monotonic() < gives_up:
            data = client.post("/get-notifications", json={"clientHash": name}).json()["data"]["messages"]
            if len(data) >= count:
                return [json.loads(message) for message in data]
            time.sleep(0.1)
    raise AssertionError("no notification came")
