"""Push registration: the frames and their HTTP twins. Delivery needs a push service and is tested elsewhere."""

import pytest

from client import check_error

pytestmark = pytest.mark.push

BAD = [
    {}, {"provider": "pigeon", "token": "t", "rooms": ["alerts"]}, {"provider": "fcm", "rooms": ["alerts"]}, {"provider": "apns", "token": 5, "rooms": ["alerts"]},
    {"provider": "webpush", "subscription": "x", "rooms": ["alerts"]}, {"provider": "fcm", "token": "t", "rooms": "alerts"},
]


@pytest.mark.parametrize("body", BAD, ids=str)
async def test_a_bad_registration(ws, http, body):
    await (await ws()).fails("INVALID_REQUEST", "registerPush", **body)
    check_error(await http.post("/push", json=body), "INVALID_REQUEST")


async def test_a_room_without_push(ws):
    await (await ws()).fails("ROOM_NOT_FOUND", "registerPush", provider="fcm", token="t", rooms=["chat"])
