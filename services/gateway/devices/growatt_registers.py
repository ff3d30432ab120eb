"""The registers of a Growatt storage inverter that PEMS uses, and how a command becomes registers.

Source: "Growatt Inverter Modbus RTU Protocol", V1.20 (2020-04) and V1.24, storage models SPH:
function 03 ranges 0-124 and 1000-1124, function 04 ranges 0-124 and 1000-1124. Cross-checked with
three public maps that were verified on hardware: l4m4re/growatt-inverter-info (register-spec SPH),
0xAHA/Growatt_ModbusTCP (profiles sph, sph_tl3) and WouterTuinstra/Homeassistant-Growatt-Local-
Modbus (storage_120). Addresses are zero based as in the protocol. Pairs are 32 bit, high word
first. MOD-XH models keep the same quantities at 3000 and up and are not served by this map.

Modes: the priority register 1044 is read-only; the mode follows from enabled time slots. Inside a
battery-first slot the battery charges at most at the rate 1090 (from the grid only with 1092 = 1)
and does not discharge; inside a grid-first slot it discharges at the rate 1070; outside every slot
the inverter is load first, its own self-use. Slot times are hour << 8 | minute of the inverter's
clock, the stop is exclusive, and 23:59 stands for the end of the day, because a slot cannot cross
midnight. **Slots recur every day**; ``Inverter.tidy`` removes them when their lease is over.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

# input registers (function 04), first block
PV_W = 1  # pair, 0.1 W
PV_TOTAL = 91  # pair, 0.1 kWh, all strings
INPUT_A = (0, 93)  # start, count of one read

# input registers, storage block
DISCHARGE_W = 1009  # pair, 0.1 W
CHARGE_W = 1011  # pair, 0.1 W
SOC = 1014  # %
IMPORT_W = 1021  # pair, 0.1 W, "AC power to user total"
EXPORT_W = 1029  # pair, 0.1 W, "AC power to grid total", signed on some models
LOAD_W = 1037  # pair, 0.1 W, "INV power to local load total"
IMPORT_TOTAL = 1046  # pair, 0.1 kWh
EXPORT_TOTAL = 1050  # pair, 0.1 kWh
DISCHARGE_TOTAL = 1054  # pair, 0.1 kWh
CHARGE_TOTAL = 1058  # pair, 0.1 kWh
LOAD_TOTAL = 1062  # pair, 0.1 kWh
INPUT_B = (1000, 64)

# holding registers (function 03, written with 06 and 16)
CLOCK = 45  # year, month, day, hour, minute, second
EXPORT_LIMIT_MODE = 122  # 0 off, 1 meter on RS485, 2 on RS232, 3 current transformer
EXPORT_LIMIT_RATE = 123  # 0.1 % of the rated AC power
HOLDING_A = (45, 79)
GRID_FIRST_RATE = 1070  # discharge power, % of rated
GRID_FIRST_STOP_SOC = 1071  # %
GRID_FIRST_SLOTS = 1080  # three of (start, stop, enable)
BATTERY_FIRST_RATE = 1090  # charge power, % of rated
BATTERY_FIRST_STOP_SOC = 1091  # %
AC_CHARGE = 1092  # 1: the grid may charge in battery first
BATTERY_FIRST_SLOTS = 1100  # three of (start, stop, enable)
HOLDING_B = (1070, 39)

END_OF_DAY = 23 * 60 + 59  # minutes
Slot = tuple[int, int]  # start, stop in minutes of the day; stop exclusive, END_OF_DAY: midnight
NO_SLOTS = [0] * 9
LONGEST = timedelta(hours=23, minutes=58)


def pair(block: list[int], start: int, address: int, *, signed: bool = False) -> int:
    """The 32-bit number at ``address`` of a block that was read from ``start``."""
    high, low = block[address - start], block[address - start + 1]
    number = high << 16 | low
    return number - (1 << 32) if signed and number >= 1 << 31 else number


def decode_clock(words: list[int]) -> datetime:
    """The inverter's local time, without zone. Some firmwares count years from 2000."""
    year, month, day, hour, minute, second = words
    return datetime(year + 2000 if year < 100 else year, month, day, hour, minute, second)


def lease_slots(now: datetime, until: datetime) -> list[Slot]:
    """Slots of the inverter's clock that cover ``now``..``until``, two when midnight is between.

    Both times are the inverter's local time. The start is rounded down to the minute and the end
    too, so that the lease is never exceeded; a lease of less than one minute gives no slot, and
    at 23:59 the slot begins at midnight, because 23:59 to 23:59 could mean the whole day.
    A lease of a day or longer is cut to 23 h 58 min, because a daily slot cannot say more.
    """
    until = min(until, now + LONGEST)
    start, stop = now.hour * 60 + now.minute, until.hour * 60 + until.minute
    if until.date() == now.date():
        return [(start, stop)] if stop > start else []
    if until < now:
        return []
    tonight = [(start, END_OF_DAY)] if start < END_OF_DAY else []
    return tonight + ([(0, stop)] if stop > 0 else [])


def encode_slots(slots: list[Slot]) -> list[int]:
    """Nine registers for at most three slots."""
    words = list(NO_SLOTS)
    for i, (start, stop) in enumerate(slots):
        words[3 * i : 3 * i + 3] = [_clock(start), _clock(stop), 1]
    return words


def decode_slots(words: list[int]) -> list[Slot]:
    """The enabled slots of nine registers."""
    return [(_minutes(words[i]), _minutes(words[i + 1])) for i in (0, 3, 6) if words[i + 2] == 1]


def inside(slot: Slot, now: datetime) -> bool:
    """True while the slot is active; 23:59 as its stop includes the day's last minute."""
    minute = now.hour * 60 + now.minute
    return slot[0] <= minute < slot[1] or (slot[1] == END_OF_DAY and minute == END_OF_DAY)


@dataclass(frozen=True, slots=True)
class Setting:
    """A battery command as the inverter understands it."""

    battery_first: list[Slot]
    grid_first: list[Slot]
    rate_percent: int

    @staticmethod
    def of(
        value_w: int, slots: list[Slot], charge_rated_w: float, discharge_rated_w: float
    ) -> Setting:
        """Mode and rate of a battery power, W (+ charge), rounded towards zero.

        0 W is the inverter's own self-use (no slot). A power below 1 % of rated becomes a rate
        of 0 %: the battery holds, neither charging nor discharging.
        """
        if value_w > 0:
            return Setting(slots, [], min(100, int(100 * value_w / charge_rated_w + 1e-9)))
        if value_w < 0:
            rate = min(100, int(-100 * value_w / discharge_rated_w + 1e-9))
            # Grid first at 0 % is not defined by the protocol; battery first at 0 % holds.
            return Setting([], slots, rate) if rate else Setting(slots, [], 0)
        return Setting([], [], 0)


def _clock(minutes: int) -> int:
    return minutes // 60 << 8 | minutes % 60


def _minutes(word: int) -> int:
    return (word >> 8) * 60 + (word & 0xFF)
