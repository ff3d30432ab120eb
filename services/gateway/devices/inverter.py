"""Growatt hybrid inverter over Modbus TCP: meters, battery, export limit.

Registers and modes: ``growatt_registers.py``. The inverter has no lease of its own, so a battery
command is written as a time slot that ends with the lease: when PEMS dies, the slot's end returns
the inverter to load first by itself. Its clock must run in ``clock_zone``; UTC is the best choice,
because a local clock repeats an hour in autumn. The export limit has no slot: it is put back by
``tidy`` and at connecting, and otherwise stays, which costs money but hurts nothing.

Only registers that differ are written (they live in flash). Time-outs: 2 s a request, so at most
4 s for ``read`` and 16 s for ``apply``; the first request that fails ends the call.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException

from services.gateway.devices import growatt_registers as reg
from services.gateway.devices.base import Backoff, DeviceUnavailable, ReadBack
from services.gateway.devices.growatt_registers import Setting, Slot, pair

TIMEOUT_S = 2.0
POWER_LIMIT_W = 200_000.0  # above it a register is misread, not measured


@dataclass(frozen=True, slots=True)
class InverterReading:
    """The meters of the house; None is a value outside what one house can do."""

    pv_w: float | None  # W, DC power of all strings
    load_w: float | None  # W
    grid_w: float | None  # W, + import, - export
    battery_w: float | None  # W, + charge, - discharge
    soc: float | None  # 0..1
    pv_wh: float  # Wh, counter, resolution 100 Wh; so are the others
    load_wh: float
    import_wh: float
    export_wh: float
    battery_charge_wh: float
    battery_discharge_wh: float


@dataclass(frozen=True, slots=True)
class InverterConfig:
    """What the installer knows.

    Attributes
    ----------
    charge_rated_w, discharge_rated_w : battery power that the rates 1090 and 1070 mean by 100 %, W
    ac_rated_w : power that the export limit means by 100 %, W
    soc_min, soc_max : written as the stop of grid first and of battery first, 0..1
    grid_charge : True when the grid may charge the battery
    export_limit_w : the limit that holds when no command does, W
    clock_zone : zone in which the inverter's clock runs
    unit : Modbus unit id
    export_meter : register 122, 1 meter on RS485, 3 current transformer
    """

    charge_rated_w: float
    discharge_rated_w: float
    ac_rated_w: float
    soc_min: float
    soc_max: float
    grid_charge: bool
    export_limit_w: float
    clock_zone: tzinfo = UTC
    unit: int = 1
    export_meter: int = 1


class GrowattInverter:
    """One inverter at a Modbus TCP address."""

    def __init__(self, host: str, port: int, config: InverterConfig) -> None:
        self._config = config
        self._address = f"modbus://{host}:{port}/{config.unit}"
        self._client = AsyncModbusTcpClient(
            host, port=port, timeout=TIMEOUT_S, retries=0, reconnect_delay=0
        )
        self._backoff = Backoff()
        self._lock = asyncio.Lock()
        self._export_until: datetime | None = None
        self._battery_until: datetime | None = None  # of the lease that we gave
        self._clear = False  # True: no slot is enabled, as far as we know
        self.battery = BatteryActuator(self, config)
        self.export_limit = ExportLimitActuator(self, config)

    async def connect(self) -> None:
        """Connect; DeviceUnavailable after 2 s. Later calls reconnect by themselves."""
        async with self._lock:
            await self._ensure()

    async def close(self) -> None:
        """Disconnect."""
        self._client.close()

    async def read(self) -> InverterReading:
        """All meters, two requests."""
        async with self._lock:
            a = await self._read_input(*reg.INPUT_A)
            b = await self._read_input(*reg.INPUT_B)
        start = reg.INPUT_B[0]

        def watts(address: int, *, signed: bool = False) -> float:
            return pair(b, start, address, signed=signed) / 10

        def watt_hours(address: int) -> float:
            return pair(b, start, address) * 100.0

        soc = b[reg.SOC - start] / 100
        grid_w = watts(reg.IMPORT_W) - watts(reg.EXPORT_W, signed=True)
        battery_w = watts(reg.CHARGE_W) - watts(reg.DISCHARGE_W)
        return InverterReading(
            pv_w=_plausible(pair(a, 0, reg.PV_W) / 10),
            load_w=_plausible(watts(reg.LOAD_W)),
            grid_w=_plausible(grid_w),
            battery_w=_plausible(battery_w),
            soc=soc if 0 <= soc <= 1 else None,
            pv_wh=pair(a, 0, reg.PV_TOTAL) * 100.0,
            load_wh=watt_hours(reg.LOAD_TOTAL),
            import_wh=watt_hours(reg.IMPORT_TOTAL),
            export_wh=watt_hours(reg.EXPORT_TOTAL),
            battery_charge_wh=watt_hours(reg.CHARGE_TOTAL),
            battery_discharge_wh=watt_hours(reg.DISCHARGE_TOTAL),
        )

    async def read_clock(self) -> datetime:
        """The inverter's clock, UTC. A lease is as exact as this clock: compare it now and then."""
        async with self._lock:
            return self._to_utc(await self._local_clock())

    async def tidy(self, now: datetime) -> None:
        """Remove what outlived its lease; call it on every sweep, mostly it does nothing.

        Slots recur every day, and the export limit has no slot at all. One read after
        connecting, and nothing more until the next command's lease ends.
        """
        async with self._lock:
            if self._export_until is not None and now >= self._export_until:
                await self._write_export(self._config.export_limit_w)
                self._export_until = None
            if self._clear or (self._battery_until is not None and now < self._battery_until):
                return
            b = await self._read_holding(*reg.HOLDING_B)
            if self._battery_until is None:
                # After a restart: a slot that is active belongs to a lease we gave before.
                local = await self._local_clock()
                if any(reg.inside(slot, local) for slots in _slots(b) for slot in slots):
                    return
            await self._write_changes(b, Setting([], [], 0))
            self._battery_until, self._clear = None, True

    async def set_battery(self, value_w: int | None, until: datetime) -> bool:
        """See ``BatteryActuator``."""
        async with self._lock:
            c = self._config
            slots: list[Slot] = []
            if value_w:
                end = until.astimezone(c.clock_zone).replace(tzinfo=None)
                slots = reg.lease_slots(await self._local_clock(), end)
                if not slots:
                    return False
            setting = Setting.of(value_w or 0, slots, c.charge_rated_w, c.discharge_rated_w)
            b = await self._read_holding(*reg.HOLDING_B)
            self._battery_until, self._clear = until if value_w else None, not value_w
            await self._write_changes(b, setting)
            return True

    async def battery_read_back(self) -> ReadBack:
        """See ``BatteryActuator``."""
        async with self._lock:
            local = await self._local_clock()
            b = await self._read_holding(*reg.HOLDING_B)
            start, count = reg.DISCHARGE_W, reg.SOC - reg.DISCHARGE_W + 1
            power = await self._read_input(start, count)
        measured = pair(power, start, reg.CHARGE_W) / 10 - pair(power, start, reg.DISCHARGE_W) / 10
        battery, grid = _slots(b)
        if any(reg.inside(s, local) for s in battery):
            rate = b[reg.BATTERY_FIRST_RATE - reg.HOLDING_B[0]]
            value = round(rate * self._config.charge_rated_w / 100)
        elif any(reg.inside(s, local) for s in grid):
            rate = b[reg.GRID_FIRST_RATE - reg.HOLDING_B[0]]
            value = -round(rate * self._config.discharge_rated_w / 100)
        else:
            value = 0  # load first: the inverter's own self-use
        return ReadBack(value, measured)

    async def set_export_limit(self, value_w: int | None, until: datetime) -> bool:
        """See ``ExportLimitActuator``."""
        if value_w is not None and value_w < 0:
            return False
        async with self._lock:
            released = value_w is None
            await self._write_export(self._config.export_limit_w if value_w is None else value_w)
            self._export_until = None if released else until
            return True

    async def export_read_back(self) -> ReadBack:
        """See ``ExportLimitActuator``."""
        async with self._lock:
            mode, rate = await self._read_holding(reg.EXPORT_LIMIT_MODE, 2)
        return ReadBack(round(rate * self._config.ac_rated_w / 1_000) if mode else None)

    async def _write_changes(self, b: list[int], setting: Setting) -> None:
        """Write what differs, so that no moment in between commands more than before or after.

        Slots that end go first, then rates and stops, then slots that begin.
        """
        battery = reg.encode_slots(setting.battery_first)
        grid = reg.encode_slots(setting.grid_first)
        blank = list(reg.NO_SLOTS)
        rates = setting.rate_percent
        c = self._config
        steps: list[tuple[int, list[int]]] = []
        if not setting.battery_first:
            steps.append((reg.BATTERY_FIRST_SLOTS, blank))
        if not setting.grid_first:
            steps.append((reg.GRID_FIRST_SLOTS, blank))
        if setting.battery_first:
            stop_soc, ac = round(100 * c.soc_max), int(c.grid_charge)
            steps.append((reg.BATTERY_FIRST_RATE, [rates, stop_soc, ac]))
            steps.append((reg.BATTERY_FIRST_SLOTS, battery))
        if setting.grid_first:
            steps.append((reg.GRID_FIRST_RATE, [rates, round(100 * c.soc_min)]))
            steps.append((reg.GRID_FIRST_SLOTS, grid))
        for address, words in steps:
            offset = address - reg.HOLDING_B[0]
            if b[offset : offset + len(words)] != words:
                await self._write(address, words)

    async def _write_export(self, limit_w: float) -> None:
        rate = max(0, min(1_000, int(1_000 * limit_w / self._config.ac_rated_w + 1e-9)))
        words = [self._config.export_meter, rate]
        if await self._read_holding(reg.EXPORT_LIMIT_MODE, 2) != words:
            await self._write(reg.EXPORT_LIMIT_MODE, words)

    async def _local_clock(self) -> datetime:
        words = await self._read_holding(reg.CLOCK, 6)
        try:
            return reg.decode_clock(words)
        except ValueError as error:
            raise self._lost(f"clock registers {words} are no date: {error}") from error

    def _to_utc(self, local: datetime) -> datetime:
        return local.replace(tzinfo=self._config.clock_zone).astimezone(UTC)

    async def _ensure(self) -> None:
        if self._client.connected:
            return
        if not self._backoff.ready:
            raise self._lost("not connected, the next attempt follows soon")
        self._clear = False
        try:
            async with asyncio.timeout(TIMEOUT_S):
                connected = await self._client.connect()
        except (TimeoutError, OSError, ModbusException) as error:
            self._backoff.failed()
            raise self._lost(f"{error or 'no answer'}") from error
        if not connected:
            self._backoff.failed()
            raise self._lost("connection refused; is Modbus TCP enabled on the data logger?")
        self._backoff.succeeded()

    async def _read_input(self, start: int, count: int) -> list[int]:
        return await self._request("input", start, count, None)

    async def _read_holding(self, start: int, count: int) -> list[int]:
        return await self._request("holding", start, count, None)

    async def _write(self, start: int, words: list[int]) -> None:
        await self._request("write", start, len(words), words)

    async def _request(
        self, kind: str, start: int, count: int, words: list[int] | None
    ) -> list[int]:
        await self._ensure()
        client, unit = self._client, self._config.unit
        what = f"{kind} registers {start}..{start + count - 1}"
        try:
            async with asyncio.timeout(TIMEOUT_S):
                if words is not None:
                    answer = await client.write_registers(start, words, device_id=unit)
                elif kind == "input":
                    answer = await client.read_input_registers(start, count=count, device_id=unit)
                else:
                    answer = await client.read_holding_registers(start, count=count, device_id=unit)
        except (TimeoutError, OSError, ModbusException) as error:
            self._client.close()  # perhaps half open: the next call connects anew
            self._backoff.failed()
            raise self._lost(f"{what}: {error or 'no answer'}") from error
        if answer.isError():
            raise self._lost(f"{what}: refused with {answer}; is the map right for this model?")
        if words is None and len(answer.registers) != count:
            raise self._lost(f"{what}: {len(answer.registers)} registers came")
        return list(answer.registers)

    def _lost(self, reason: str) -> DeviceUnavailable:
        return DeviceUnavailable("inverter", self._address, reason)


class BatteryActuator:
    """Battery power, W: + charge, - discharge, 0 or None the inverter's own self-use.

    Resolution 1 % of rated, rounded towards zero. Refused: a lease of less than a minute left.
    Reads back the power of the active slot (0: no slot, self-use) and the measured power.
    """

    device = "battery"

    def __init__(self, inverter: GrowattInverter, config: InverterConfig) -> None:
        self._inverter = inverter
        self.tolerance = math.ceil(max(config.charge_rated_w, config.discharge_rated_w) / 100)

    async def apply(self, value: int | None, until: datetime, command_id: str) -> bool:
        """See ``Actuator.apply``; the inverter cannot keep ``command_id``."""
        return await self._inverter.set_battery(value, until)

    async def read_back(self) -> ReadBack:
        """See ``Actuator.read_back``."""
        return await self._inverter.battery_read_back()


class ExportLimitActuator:
    """Highest export, W; None puts back the house's own limit. Resolution 0.1 % of rated."""

    device = "inverter-export"

    def __init__(self, inverter: GrowattInverter, config: InverterConfig) -> None:
        self._inverter = inverter
        self.tolerance = math.ceil(config.ac_rated_w / 1_000)

    async def apply(self, value: int | None, until: datetime, command_id: str) -> bool:
        """See ``Actuator.apply``; the lease is kept by ``GrowattInverter.tidy``."""
        return await self._inverter.set_export_limit(value, until)

    async def read_back(self) -> ReadBack:
        """See ``Actuator.read_back``."""
        return await self._inverter.export_read_back()


def _slots(b: list[int]) -> tuple[list[Slot], list[Slot]]:
    battery = reg.BATTERY_FIRST_SLOTS - reg.HOLDING_B[0]
    grid = reg.GRID_FIRST_SLOTS - reg.HOLDING_B[0]
    return reg.decode_slots(b[battery : battery + 9]), reg.decode_slots(b[grid : grid + 9])


def _plausible(watts: float) -> float | None:
    return watts if abs(watts) <= POWER_LIMIT_W else None
