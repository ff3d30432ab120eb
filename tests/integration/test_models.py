"""The model store on a real broker: what is put is read back, nobody but the trainer may add, and a
service that hears of a model follows it or says why not."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from subprocess import Popen

import pytest
from nats.errors import Error as NatsError

from chassis.models import CHUNK_BYTES, Objects, name_of
from contracts.events.system import ModelChecked, ModelPromoted
from contracts.events.thermal import ModelIdentified
from contracts.site import SiteConfig
from contracts.thermal_model import to_json
from pems.broker import Broker
from pems.home import bus_of
from pems.promotion import promote
from services.thermal.core.from_site import model_of
from tests.conftest import eventually, make_event
from tests.integration.test_runner import _at_least, spawn, ticks

BIG = bytes(range(256)) * (3 * CHUNK_BYTES // 256) + b"rest"


async def test_what_was_put_is_read_back_by_those_who_may(house: Broker) -> None:
    async with bus_of(house.settings, "trainer") as bus:
        name = await Objects(bus.client, house.settings).put(BIG)
        assert name == await Objects(bus.client, house.settings).put(BIG)
    for user in ("forecast", "thermal", "reader"):
        async with bus_of(house.settings, user) as bus:
            store = Objects(bus.client, house.settings)
            assert await store.get(name) == BIG
            assert await store.get(name_of(b"nothing")) is None


async def test_the_standard_client_reads_it_too(house: Broker) -> None:
    async with bus_of(house.settings, "trainer") as bus:
        name = await Objects(bus.client, house.settings).put(BIG)
    async with bus_of(house.settings, "operator") as bus:
        store = await bus.js.object_store(house.settings.bucket)
        assert (await store.get(name)).data == BIG


@pytest.mark.parametrize("user", ["forecast", "thermal", "optimizer", "client", "reader", "twin"])
async def test_nobody_else_may_add_or_replace(house: Broker, user: str) -> None:
    async with bus_of(house.settings, "operator") as bus:
        before = (await bus.js.stream_info(house.settings.bucket_stream)).state.last_seq
    async with bus_of(house.settings, user) as bus:
        with pytest.raises((NatsError, TimeoutError)):
            async with asyncio.timeout(1):
                await Objects(bus.client, house.settings).put(b"evil")
        await bus.client.publish(f"$O.{house.settings.bucket}.M.eA==", json.dumps({}).encode())
        await bus.client.flush()
    async with bus_of(house.settings, "operator") as bus:
        assert (await bus.js.stream_info(house.settings.bucket_stream)).state.last_seq == before


async def test_the_trainer_may_say_nothing_but_promotions(house: Broker) -> None:
    async with bus_of(house.settings, "trainer") as bus:
        before = await bus.last_sequence()
        for subject in ("command.battery.approved", "system.site.config-loaded", "plan.house.computed"):
            await bus.client.publish(f"pems.home.{subject}", b"{}")
        await bus.client.flush()
        await asyncio.sleep(0.1)
        assert await bus.last_sequence() == before


@pytest.fixture
def thermal(house: Broker) -> Iterator[Popen[bytes]]:
    """The thermal service, running."""
    process = spawn(house.settings, "thermal")
    yield process
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def promotion(content: bytes) -> ModelPromoted:
    return ModelPromoted(
        quantity="thermal", content_hash=name_of(content), method="test",
        trained_until=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip


@pytest.mark.usefixtures("thermal")
async def test_a_promoted_model_is_followed_and_a_missing_one_is_named(
    house: Broker, site: SiteConfig
) -> None:
    prior = model_of(site)
    warm = prior.model_copy(update={"ground_temperature_c": 11.0})
    content = to_json(warm).encode()
    await ticks(house.settings, 0, 2)
    await promote(house.settings, promotion(content), content)
    found = await eventually(lambda: _at_least(house.settings, ModelIdentified, 2), 40)
    assert found[-1].data.model == warm
    assert found[-1].data.model_hash == name_of(content)
    async with bus_of(house.settings, "trainer") as bus:
        lost = make_event("system.model-promoted", "thermal", promotion(b"lost"), "trainer", key="lost")
        await bus.append([lost])
    checks = await eventually(lambda: _at_least(house.settings, ModelChecked, 2), 40)
    assert [(e.data.in_force, e.data.problem) for e in checks] == [
        (True, ""), (False, f"model {name_of(b'lost')[:12]} is not in the store"),
    ]  # fmt: skip
    # the copy that the service made, and the broker's own, both serve a replay
    assert (house.settings.home / "models" / name_of(content)).read_bytes() == content
    (house.settings.home / "models" / name_of(content)).unlink()
    async with bus_of(house.settings) as bus:
        assert await Objects(bus.client, house.settings).get(name_of(content)) == content
