"""The known traps of the bus (DESIGN section 6), one by one, against the real server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import time
from pathlib import Path

import nats
import pytest
from nats.errors import TimeoutError as NatsTimeout
from nats.js.api import ConsumerConfig
from nats.js.errors import APIError

from chassis import bus as buses
from chassis.provision import (
    ACK_WAIT_S,
    ProvisioningError,
    assert_durable,
    consumer_config,
    provision,
    stream_config,
)
from chassis.runner import GRACE_S, Runner
from chassis.service import Decision, Service, State
from contracts import catalog
from contracts.site import SiteConfig
from pems.broker import Broker, Ports, binary, free_ports
from pems.home import bus_of
from pems.processes import STOP_S
from tests.conftest import tick


class Failing(Service[State]):
    """Fails on the second tick, as a bug would."""

    name = "dispatcher"
    state_type = State

    def decide(self, state: State, event: object) -> list[Decision]:
        if getattr(getattr(event, "data", None), "number", None) == 1:
            raise RuntimeError("a bug")
        return []


class Slow(Service[State]):
    """Takes longer over a tick than the broker waits for an acknowledgement."""

    name = "optimizer"
    heavy = True
    state_type = State
    calls = 0

    def decide(self, state: State, event: object) -> list[Decision]:
        Slow.calls += 1
        time.sleep(ACK_WAIT_S + 2)
        return []


async def run_until(runner: Runner, done: object, seconds: float = 40) -> None:
    """Run a service in this process until ``done()`` is true."""
    work = asyncio.create_task(runner.run())
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not work.done():
        value = done()  # type: ignore[operator]
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            break
        await asyncio.sleep(0.1)
    runner.end()
    await work


async def consumer(house: Broker, name: str) -> tuple[int, int]:
    """(waiting, in hand) of a service's consumer."""
    async with bus_of(house.settings, "operator") as bus:
        info = await bus.js.consumer_info(house.settings.stream, name)
        return info.num_pending or 0, info.num_ack_pending or 0


async def test_trap_1_and_2_a_failing_handler_neither_loses_nor_spins(house: Broker) -> None:
    async with bus_of(house.settings, "twin") as bus:
        await bus.append([tick(n) for n in range(3)])
    runner = Runner(Failing(), house.settings)

    async def drained() -> bool:
        return await consumer(house, "dispatcher") == (0, 0)

    await run_until(runner, drained)
    async with bus_of(house.settings) as bus:
        note = await bus.last_on("pems.home.system.dispatcher.message-quarantined")
    assert note is not None
    assert "RuntimeError: a bug" in json.loads(note.body)["error"]
    assert json.loads(note.body)["sequence"] == 4, "the second tick; two configurations before"
    async with bus_of(house.settings, "operator") as bus:
        info = await bus.js.consumer_info(house.settings.stream, "dispatcher")
    assert not info.num_redelivered


def test_trap_3_grace_is_longer_than_any_handler_and_shorter_than_the_stop() -> None:
    assert GRACE_S < STOP_S
    assert "stop_grace_period: 40s" in Path("docker-compose.yml").read_text()
    assert GRACE_S < 40


async def test_trap_4_only_acknowledged_publications_count(house: Broker) -> None:
    async with bus_of(house.settings, "twin") as bus:
        assert await bus.append([tick(0)]) == [3]
        bus.stream = "PEMS_OTHER"
        with pytest.raises(APIError, match="expected stream"):
            await bus.js.publish("pems.home.clock.site.ticked", b"{}", stream="PEMS_OTHER")


async def test_trap_5_a_retry_with_the_same_id_is_the_same_event(house: Broker) -> None:
    async with bus_of(house.settings, "twin") as bus:
        first = await bus.append([tick(0), tick(1)])
        assert await bus.append([tick(0), tick(1)]) == first
        assert await bus.last_sequence() == first[-1]


async def test_trap_5_a_denied_permission_is_a_time_out_and_never_an_append(house: Broker) -> None:
    async with bus_of(house.settings, "dispatcher") as bus:
        before = await bus.last_sequence()
        with pytest.raises((NatsTimeout, asyncio.TimeoutError)):
            await bus.js.publish("pems.home.clock.site.ticked", b"{}", timeout=1)
        assert await bus.last_sequence() == before


def test_trap_6_and_11_reconnects_for_ever_and_pings(house: Broker) -> None:
    options = buses.connect_options(house.settings, "dispatcher")
    assert options["max_reconnect_attempts"] == -1
    assert options["ping_interval"] == 10
    assert options["max_outstanding_pings"] == 2


async def test_trap_6_an_unreachable_broker_does_not_freeze_the_loop(house: Broker) -> None:
    client = await buses.connect(house.settings, "dispatcher")
    house.kill()
    started, turns = time.monotonic(), 0
    while time.monotonic() - started < 2:
        await asyncio.sleep(0.01)
        turns += 1
    assert turns > 50
    house.start()
    deadline = time.monotonic() + 15
    while not client.is_connected and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    assert client.is_connected
    await client.close()


async def test_trap_7_running_services_leave_stream_and_consumer_as_they_are(
    house: Broker, site: SiteConfig
) -> None:
    async with bus_of(house.settings, "operator") as bus:
        before = await bus.js.stream_info(house.settings.stream)
        consumer_before = await bus.js.consumer_info(house.settings.stream, "dispatcher")
    runner = Runner(Failing(), house.settings)

    async def drained() -> bool:
        return await consumer(house, "dispatcher") == (0, 0)

    await run_until(runner, drained)
    async with bus_of(house.settings, "operator") as bus:
        after = await bus.js.stream_info(house.settings.stream)
        consumer_after = await bus.js.consumer_info(house.settings.stream, "dispatcher")
    assert after.config == before.config
    assert consumer_after.config == consumer_before.config


async def test_trap_8_a_durable_that_differs_is_refused(house: Broker, site: SiteConfig) -> None:
    wrong = consumer_config("dispatcher", house.settings, site)
    wrong.max_ack_pending = 5
    async with bus_of(house.settings, "operator") as bus:
        await bus.js.add_consumer(house.settings.stream, wrong)
    with pytest.raises(RuntimeError, match="max_ack_pending is 5, must be 1"):
        await Runner(Failing(), house.settings).run()


async def test_trap_8_a_log_with_other_settings_is_refused(broker: Broker, site: SiteConfig) -> None:
    async with bus_of(broker.settings, "operator") as bus:
        wrong = stream_config(broker.settings)
        wrong.max_age = 3_600
        await bus.js.add_stream(wrong)
        with pytest.raises(ProvisioningError, match="max_age is"):
            await provision(bus.js, broker.settings, site)


async def test_trap_9_every_folding_consumer_takes_one_at_a_time(
    house: Broker, site: SiteConfig
) -> None:
    async with bus_of(house.settings, "operator") as bus:
        for service in catalog.SERVICES:
            info = await bus.js.consumer_info(house.settings.stream, service)
            assert info.config is not None
            assert info.config.max_ack_pending == 1


async def test_trap_9_long_work_reports_progress_and_is_not_delivered_twice(house: Broker) -> None:
    Slow.calls = 0
    runner = Runner(Slow(), house.settings)

    async def drained() -> bool:
        return await consumer(house, "optimizer") == (0, 0)

    async with bus_of(house.settings, "twin") as bus:
        await bus.append([tick(0)])
    started = time.monotonic()
    await run_until(runner, drained, 90)
    assert time.monotonic() - started > ACK_WAIT_S
    assert Slow.calls == 3, "two configurations and one tick, each once"


async def test_trap_11_a_stalled_service_ends_itself(
    house: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chassis.runner.STALL_S", 1.0)
    monkeypatch.setattr("chassis.runner.WATCH_S", 0.2)
    runner = Runner(Failing(), house.settings)

    async def never(message: object) -> None:
        await asyncio.Event().wait()

    runner._on_message = never  # type: ignore[method-assign]
    async with bus_of(house.settings, "twin") as bus:
        await bus.append([tick(0)])
    with pytest.raises(RuntimeError, match="messages wait and none came"):
        async with asyncio.timeout(60):
            await runner.run()


def test_trap_12_the_broker_syncs_before_it_acknowledges(house: Broker, tmp_path: object) -> None:
    assert_durable(house.monitor_url)
    ports = Ports(*free_ports())
    folder = house.settings.home / "lazy"
    folder.mkdir()
    path = folder / "n.conf"
    path.write_text(
        f'listen: "127.0.0.1:{ports.nats}"\nhttp: "127.0.0.1:{ports.monitor}"\n'
        f'jetstream {{store_dir: "{folder}"}}\n'
    )
    lazy = subprocess.Popen([binary(), "-c", str(path)], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                with pytest.raises(ProvisioningError, match="sync_interval: always"):
                    assert_durable(f"http://127.0.0.1:{ports.monitor}")
                return
            time.sleep(0.1)
        pytest.fail("the second broker did not start")
    finally:
        lazy.terminate()
        lazy.wait()


async def test_trap_13_reading_the_log_pages_through_all_of_it(house: Broker) -> None:
    count = buses.READ_BATCH * 2 + 7
    async with bus_of(house.settings, "twin") as bus:
        await bus.append([tick(n) for n in range(count)])
    async with bus_of(house.settings) as bus:
        sequences = [entry.sequence async for entry in bus.read(1)]
        middle = [entry.sequence async for entry in bus.read(10, 20)]
    assert sequences == list(range(1, count + 3))
    assert middle == list(range(10, 21))


async def test_log_cannot_be_deleted_or_purged_by_anyone(house: Broker) -> None:
    for user in ("dispatcher", "operator", "client"):
        async with bus_of(house.settings, user) as bus:
            with pytest.raises((APIError, NatsTimeout, asyncio.TimeoutError)):
                await asyncio.wait_for(bus.js.purge_stream(house.settings.stream), 2)
            with pytest.raises((APIError, NatsTimeout, asyncio.TimeoutError)):
                await asyncio.wait_for(bus.js.delete_msg(house.settings.stream, 1), 2)


async def test_wrong_password_is_refused(house: Broker) -> None:
    with pytest.raises((nats.errors.Error, OSError)):
        await nats.connect(
            house.settings.nats_url, user="safety", password="guess", max_reconnect_attempts=0,
            allow_reconnect=False,
        )  # fmt: skip


def test_consumer_filters_are_what_the_catalogue_says(site: SiteConfig, house: Broker) -> None:
    config: ConsumerConfig = consumer_config("safety", house.settings, site)
    assert config.filter_subjects is not None
    assert "pems.home.command.*.proposed" in config.filter_subjects
    assert "pems.home.command.*.approved" not in config.filter_subjects


