"""Live sockets and their polling twin, over a real server and real clients."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from quarterdeck.server import live_socket
from tests.engine.building import kind, mission, plan
from tests.server.live_building import BEARER, TOKEN, heard, heard_up_to, places, served

pytestmark = pytest.mark.req("RUN-5")


@pytest.fixture(params=[True, False], ids=["direct", "asgi"])
def at(request: pytest.FixtureRequest, tmp_path: Path):
    """A server whose sockets write directly, and one that goes through plain ASGI."""
    return lambda **more: served(tmp_path, direct=request.param, **more)


async def test_events_arrive_in_order_with_their_places(at):
    async with at() as here, here.open() as socket:
        ready = await heard(socket)
        assert (ready["type"], ready["seq"]) == ("ready", 0)
        assert (await heard(socket))["type"] == "live"
        await here.happen("m1", fraction=0.5)
        await here.happen("m2", "m1")
        events = await heard_up_to(socket, 3)
        assert [(one["seq"], one["mission"]) for one in events] == [(1, "m1"), (2, "m2"), (3, "m1")]
        assert events[0]["data"] == {"fraction": 0.5}
        assert list(events[0])[:3] == ["seq", "type", "at"]


async def test_a_client_resumes_behind_its_last_place(at):
    async with at() as here:
        last = await here.happen(*["m1"] * 1200)
        async with here.open("/api/live?after=700") as socket:
            assert places(await heard_up_to(socket, last)) == list(range(701, last + 1))
            assert (await heard(socket, "live"))["seq"] == last
            last = await here.happen("m1")
            assert places(await heard_up_to(socket, last)) == [last]


async def test_a_server_restart_loses_nothing(at):
    async with at() as here:
        port = int(here.address.rpartition(":")[2])
        async with here.open("/api/live?after=0") as socket:
            seen = await heard_up_to(socket, await here.happen("m1", "m1"))
            here_ends = asyncio.ensure_future(socket.wait_closed())
            await here.happen("m2")
            seen += await heard_up_to(socket, 3)
    await asyncio.wait_for(here_ends, 5)
    assert socket.close_code in {1012, 1000, 1001}
    async with at(port=port) as here:
        last = await here.happen("m1")
        async with here.open(f"/api/live?after={seen[-1]['seq']}") as socket:
            seen += await heard_up_to(socket, last)
    assert places(seen) == [1, 2, 3, 4]


async def test_the_server_says_goodbye_when_it_stops(at):
    async with at() as here:
        socket = await here.open()
        await heard(socket, "live")
    await asyncio.wait_for(socket.wait_closed(), 5)
    assert socket.close_code == 1012


async def test_one_mission_alone_can_be_followed(tmp_path: Path):
    async with served(tmp_path) as here:
        blocked = plan({"id": "a", "kind": "unknown"})
        await here.engine.submit(mission("m1"), blocked)
        await here.engine.submit(mission("m2"), blocked)
        async with here.open("/ws/missions/m2?after=0") as socket:
            last = await here.happen("m1", "m2", "m1", "m2")
            events = await heard_up_to(socket, last)
            assert {one["mission"] for one in events} == {"m2"}
            assert events[0]["type"] == "mission.submitted"


async def test_missions_and_types_choose_and_can_change(at):
    async with at() as here, here.open("/api/live?mission=m1") as socket:
        await heard(socket, "live")
        await here.happen("m2", "m1")
        assert places(await heard_up_to(socket, 2)) == [2]
        await socket.send(json.dumps({"type": "subscribe", "missions": ["m2"], "after": 0}))
        await heard(socket, "ready")
        assert places(await heard_up_to(socket, 1)) == [1]
        await heard(socket, "live")
        await socket.send(json.dumps({"type": "subscribe", "types": ["mission.finished"]}))
        await heard(socket, "live")
        await here.happen("m1")
        await socket.send('{"type": "ping"}')
        assert (await heard(socket))["type"] == "heartbeat"


async def test_another_workspace_stays_unseen(at):
    async with at() as here, here.open("/api/live?after=0") as socket:
        await here.happen("m1", workspace="theirs")
        last = await here.happen("m1")
        assert places(await heard_up_to(socket, last)) == [last]


async def test_the_token_may_come_in_the_first_message(at):
    async with at() as here, here.open(headers={}) as socket:
        last = await here.happen("m1")
        await socket.send(json.dumps({"type": "subscribe", "token": TOKEN, "after": 0}))
        assert (await heard(socket))["type"] == "ready"
        assert places(await heard_up_to(socket, last)) == [1]


@pytest.mark.parametrize(
    ("first", "code"),
    [
        ('{"type": "subscribe", "token": "guess"}', 4401),
        ('{"type": "subscribe"}', 4401),
        ('{"type": "ping"}', 4401),
        ("{", 4422),
        ('{"type": "subscribe", "token": "x", "after": -1}', 4422),
    ],
)
async def test_a_first_message_that_does_not_fit_ends_the_socket(tmp_path: Path, first, code):
    async with served(tmp_path) as here, here.open(headers={}) as socket:
        await socket.send(first)
        error = await heard(socket)
        assert error["type"] == "error"
        assert error["detail"]
        with pytest.raises(ConnectionClosed):
            await heard(socket)
        assert socket.close_code == code
        assert socket.close_reason


async def test_a_client_that_says_nothing_is_shown_out(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(live_socket, "FIRST_MESSAGE_S", 0.05)
    async with served(tmp_path) as here, here.open(headers={}) as socket:
        await asyncio.wait_for(socket.wait_closed(), 5)
        assert socket.close_code == 4401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({**BEARER, "Origin": "https://evil.example"}, 403),
        ({**BEARER, "Origin": "null"}, 403),
        ({**BEARER, "Origin": "http://[::1"}, 403),
        ({"Authorization": "Bearer guess"}, 401),
        ({"Authorization": f"Basic {TOKEN}"}, 401),
    ],
)
async def test_strangers_get_no_socket(at, headers, status):
    async with at() as here:
        with pytest.raises(InvalidStatus) as refused:
            async with here.open(headers=headers):
                pass
        assert refused.value.response.status_code == status
        problem = json.loads(refused.value.response.body)
        assert problem["detail"]


async def test_a_rebound_host_gets_no_socket(tmp_path: Path):
    async with served(tmp_path) as here:
        reader, writer = await asyncio.open_connection(*here.address.split(":"))
        writer.write(
            b"GET /api/live HTTP/1.1\r\nHost: evil.example\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        assert b" 403 " in await reader.readline()
        writer.close()


async def test_the_own_origin_is_welcome(tmp_path: Path):
    async with served(tmp_path) as here:
        headers = {**BEARER, "Origin": f"http://{here.address}"}
        async with here.open(headers=headers) as socket:
            assert (await heard(socket))["type"] == "ready"


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("after=soon", "after"),
        ("after=-1", "after"),
        ("after=1e3", "after"),
        ("after=99999999999999999999", "after"),
        ("after=1&after=2", "after"),
        ("after=7", "ends at 0"),
        ("token=the-token", "first message"),
        ("mission=../x", "missions"),
        ("type=mission.invented", "types"),
    ],
)
async def test_a_malformed_resume_is_told_what_would_be_right(tmp_path: Path, query, says):
    async with served(tmp_path) as here, here.open(f"/api/live?{query}") as socket:
        error = await heard(socket)
        assert (error["type"], error["code"]) == ("error", "invalid-input")
        assert says in " ".join(error.values())
        assert error["hint"]
        await asyncio.wait_for(socket.wait_closed(), 5)
        assert socket.close_code == 4422


@pytest.mark.parametrize(("name", "code"), [("m9", 4404), ("M9!", 4422)])
async def test_an_unknown_mission_cannot_be_followed(tmp_path: Path, name, code):
    async with served(tmp_path) as here, here.open(f"/ws/missions/{name}") as socket:
        assert (await heard(socket))["type"] == "error"
        await asyncio.wait_for(socket.wait_closed(), 5)
        assert socket.close_code == code


async def test_ten_thousand_subscriptions_in_one_message_change_nothing(at):
    async with at() as here, here.open("/api/live?mission=m1") as socket:
        await heard(socket, "live")
        # 10,000 ids of this length are below the frame limit.
        many = [f"m{number}" for number in range(7000)]
        await socket.send(
            json.dumps({"type": "subscribe", "missions": many}, separators=(",", ":"))
        )
        error = await heard(socket)
        assert (error["code"], error["where"]) == ("invalid-input", "missions")
        await here.happen("m1")
        assert places(await heard_up_to(socket, 1)) == [1]


async def test_ten_thousand_messages_end_the_socket(at):
    async def flood(socket):
        with suppress(ConnectionClosed):
            for number in range(10_000):
                await socket.send(json.dumps({"type": "subscribe", "missions": [f"m{number}"]}))

    async def drain(socket):
        with suppress(ConnectionClosed):
            while True:
                await socket.recv()

    async with at() as here, here.open() as socket:
        async with asyncio.timeout(30):
            await asyncio.gather(flood(socket), drain(socket))
        assert socket.close_code == 4429
        async with asyncio.timeout(5):
            while here.room.hub.followers:
                await asyncio.sleep(0.01)


async def test_a_frame_of_16_mb_ends_the_socket(at):
    async with at() as here, here.open() as socket:
        with suppress(ConnectionClosed):
            await socket.send("x" * 16 * 1024 * 1024)
        await asyncio.wait_for(socket.wait_closed(), 15)
        assert socket.close_code == 1009


async def test_one_caller_may_not_have_all_sockets(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(live_socket, "SOCKETS_PER_CALLER_MAX", 2)
    async with served(tmp_path) as here, here.open() as one, here.open() as two:
        await heard(one, "live")
        await heard(two, "live")
        async with here.open() as three:
            assert (await heard(three))["code"] == "too-many"
            await asyncio.wait_for(three.wait_closed(), 5)
            assert three.close_code == 4429
        await two.close()
        async with here.open() as four:
            assert (await heard(four))["type"] == "ready"


async def test_a_token_taken_back_ends_the_socket(at, monkeypatch):
    monkeypatch.setattr(live_socket, "HEARTBEAT_S", 0.05)
    async with at() as here, here.open() as socket:
        assert (await heard(socket, "heartbeat"))["seq"] == 0
        here.take_the_token_back()
        await asyncio.wait_for(socket.wait_closed(), 5)
        assert socket.close_code == 4401


async def test_a_heartbeat_carries_the_place_to_resume_from(at, monkeypatch):
    monkeypatch.setattr(live_socket, "HEARTBEAT_S", 0.05)
    async with at() as here, here.open("/api/live?mission=quiet") as socket:
        await heard(socket, "live")
        last = await here.happen("m1", "m1")
        async with asyncio.timeout(5):
            while (await heard(socket, "heartbeat"))["seq"] < last:
                pass


async def test_polls_see_the_same_bytes(at):
    async with at() as here, here.open("/api/live?after=0") as socket:
        last = await here.happen("m1", "m2", fraction=0.1)
        text = await socket.recv()
        while '"events"' not in text:
            text = await socket.recv()
        async with httpx2.AsyncClient(headers=BEARER, trust_env=False) as client:
            url = f"http://{here.address}/api/events"
            answer = await client.get(url, params={"after": 0})
            assert answer.headers["content-type"] == "application/json"
            assert answer.text == text.replace('"type":"events",', "", 1)
            answer = await client.get(url, params={"after": 0, "mission": "m2"})
            assert places(answer.json()["events"]) == [2]
            answer = await client.get(url, params={"after": 0, "limit": 1})
            assert (places(answer.json()["events"]), answer.json()["seq"]) == ([1], 1)
            answer = await client.get(url, params={"after": last, "wait_s": 0.05})
            assert answer.json() == {"events": [], "seq": last}
            answer = await client.get(url, params={"after": last + 1})
            assert answer.status_code == 422
            assert f"0 to {last}" in answer.json()["hint"]


async def test_a_poll_wakes_with_the_event_it_waits_for(tmp_path: Path):
    async with served(tmp_path) as here:
        async with httpx2.AsyncClient(headers=BEARER, trust_env=False) as client:
            url = f"http://{here.address}/api/events"
            asked = asyncio.ensure_future(
                client.get(url, params={"mission": "m2", "wait_s": 20}, timeout=30)
            )
            while not here.room.hub.followers:
                await asyncio.sleep(0.01)
            await here.happen("m1")
            await here.happen("m2")
            answer = await asyncio.wait_for(asked, 5)
            assert places(answer.json()["events"]) == [2]
        assert not here.room.hub.followers


async def test_a_run_is_followed_to_its_end(tmp_path: Path):
    async with served(tmp_path) as here, here.open() as socket:
        await heard(socket, "live")
        unknown = plan({"id": "a", "kind": kind("none", None).name})
        run = await here.engine.submit(mission("m1"), unknown)
        events = await heard_up_to(socket, 3)
        assert [one["type"] for one in events][:2] == [
            "mission.submitted",
            "mission.orchestration.started",
        ]
        assert run.mission.id == "m1"
