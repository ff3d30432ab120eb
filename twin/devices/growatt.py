"""A Growatt SPH storage inverter: a Modbus TCP server that behaves as the device would.

Registers as in "Growatt Inverter Modbus RTU Protocol" V1.20/V1.24 for SPH models; the map is
written down here a second time on purpose, so that a slip in the gateway's map shows in the tests.
The mode follows from the time slots: battery first inside an enabled slot 1100-1108, grid first
inside 1080-1088 (battery first wins where both are active), else load first. Slots recur daily.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from twin.devices.base import Observation

WRITABLE = frozenset(
    address
    for block in ((45, 51), (122, 124), (1070, 1072), (1080, 1089), (1090, 1093), (1100, 1109))
    for address in range(*block)
)
BLOCKS = (range(0, 125), range(1000, 1125))


class GrowattTwin:
    """The inverter of the simulated house."""

    def __init__(
        self,
        charge_rated_w: float,
        discharge_rated_w: float,
        ac_rated_w: float,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        unit: int = 1,
        clock_zone: tzinfo = UTC,
    ) -> None:
        self._charge_rated_w = charge_rated_w
        self._discharge_rated_w = discharge_rated_w
        self._ac_rated_w = ac_rated_w
        self._host = host
        self._unit = unit
        self._zone = clock_zone
        self._input = dict.fromkeys((a for block in BLOCKS for a in block), 0)
        self._holding = dict(self._input)
        self._holding.update({88: 124, 1070: 100, 1071: 10, 1090: 100, 1091: 100})
        self._pv_w = 0.0
        self._soc_percent = 0
        self._server: ModbusTcpServer | None = None
        self.port = port  # the real one after connect()
        self.writes = 0  # requests that changed registers

    async def connect(self) -> None:
        """Open the Modbus TCP port."""
        unused = [SimData(0, values=[False] * 16, datatype=DataType.BITS)]
        words = [
            SimData(block.start, values=[0] * len(block), datatype=DataType.REGISTERS)
            for block in BLOCKS
        ]
        device = SimDevice(
            self._unit, simdata=(unused, list(unused), words, list(words)), action=self._serve
        )
        self._server = ModbusTcpServer(device, address=(self._host, self.port))
        await self._server.serve_forever(background=True)
        self.port = self._server.transport.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Close the port and every connection."""
        if self._server is not None:
            await self._server.shutdown()
            self._server = None

    async def publish(self, observation: Observation) -> bool:
        """Set the meters and the inverter's clock; they can be read at once."""
        o = observation
        self._pv_w, self._soc_percent = o.pv_w, round(100 * o.soc)
        local = o.time.astimezone(self._zone)
        clock = (local.year, local.month, local.day, local.hour, local.minute, local.second)
        self._holding.update(zip(range(45, 51), clock, strict=True))
        self._pair(1, 10 * o.pv_w)
        self._pair(91, o.pv_wh / 100)
        self._pair(1009, 10 * max(0.0, -o.battery_w))
        self._pair(1011, 10 * max(0.0, o.battery_w))
        self._input[1014] = self._soc_percent
        self._pair(1021, 10 * max(0.0, o.grid_w))
        self._pair(1029, 10 * max(0.0, -o.grid_w))
        self._pair(1037, 10 * o.load_w)
        self._pair(1046, o.import_wh / 100)
        self._pair(1050, o.export_wh / 100)
        self._pair(1054, o.battery_discharge_wh / 100)
        self._pair(1058, o.battery_charge_wh / 100)
        self._pair(1062, o.load_wh / 100)
        mode = self._mode(o.time)
        self._input[118] = self._holding[1044] = mode
        return True

    def battery_power_w(self, at: datetime) -> float | None:
        """Battery power that the slots ask for from ``at`` on, W (+ charge); None: self-use."""
        h, mode = self._holding, self._mode(at)
        if mode == 1:
            if self._soc_percent >= h[1091]:
                return 0.0
            charge_w = h[1090] / 100 * self._charge_rated_w
            return charge_w if h[1092] == 1 else min(charge_w, max(0.0, self._pv_w))
        if mode == 2:
            if self._soc_percent <= h[1071]:
                return 0.0
            return -h[1070] / 100 * self._discharge_rated_w
        return None

    def export_limit_w(self) -> float | None:
        """Highest export that registers 122 and 123 allow, W; None when no limit is enabled."""
        if self._holding[122] == 0:
            return None
        return self._holding[123] / 1_000 * self._ac_rated_w

    def holding(self, address: int) -> int:
        """A holding register, for tests and for a look at the device."""
        return self._holding[address]

    def _mode(self, at: datetime) -> int:
        local = at.astimezone(self._zone)
        minute = local.hour * 60 + local.minute
        if self._active(1100, minute):
            return 1
        return 2 if self._active(1080, minute) else 0

    def _active(self, first: int, minute: int) -> bool:
        for address in range(first, first + 9, 3):
            begin, end, enabled = (self._holding[address + i] for i in range(3))
            start, stop = (word // 256 * 60 + word % 256 for word in (begin, end))
            last = stop == 1_439 and minute == 1_439
            if enabled == 1 and (start <= minute < stop or last):
                return True
        return False

    def _pair(self, address: int, value: float) -> None:
        number = round(value) & 0xFFFFFFFF
        self._input[address], self._input[address + 1] = number >> 16, number & 0xFFFF

    async def _serve(
        self,
        function: int,
        start: int,
        address: int,
        count: int,
        registers: list[int],
        written: list[int] | list[bool] | None,
    ) -> ExcCodes | None:
        """Called by the server for every request: hand out, or take over, the registers asked."""
        if written is None:
            source = self._input if function == 4 else self._holding
            offset = address - start
            registers[offset : offset + count] = [source[address + i] for i in range(count)]
            return None
        if any(address + i not in WRITABLE for i in range(count)):
            return ExcCodes.ILLEGAL_ADDRESS
        if any(not self._takes(address + i, int(word)) for i, word in enumerate(written)):
            return ExcCodes.ILLEGAL_VALUE
        for i, word in enumerate(written):
            self._holding[address + i] = int(word)
        self.writes += 1
        return None

    def _takes(self, address: int, word: int) -> bool:
        """Ranges of the protocol's table."""
        if 1080 <= address <= 1088 or 1100 <= address <= 1108:
            third = (address - (1080 if address < 1090 else 1100)) % 3
            return word in (0, 1) if third == 2 else word // 256 <= 23 and word % 256 <= 59
        if address in (1070, 1071, 1090, 1091):
            return 0 <= word <= 100
        if address == 123:
            return 0 <= word <= 1_000
        return True
