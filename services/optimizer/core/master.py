"""The restricted master: the site's rows plus, for every room, a convex choice of schedules.

The air temperature at the end of the relay steps links a schedule to the room's linear tail
(duty steps), if the grid has one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from services.optimizer.core.columns import Column, Relay
from services.optimizer.core.held_lp import Entries, HeldLp
from services.optimizer.core.house import House
from services.optimizer.core.linear_model import LinearModel, Solution
from services.optimizer.core.merit_order import MeritOrder
from services.optimizer.core.room_rows import RoomColumns, build_tail
from services.optimizer.core.site_rows import SiteRows, build_site
from services.optimizer.core.step_cuts import Cut, broken, kinks, site_entries

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


QUICK_GLOP = "use_preprocessing:false"
"""The master has a few hundred rows; looking for simplifications costs more than it saves."""

MOST_CUTS = 200
"""With so many cuts no more are added: behind a fuse that is full for hours there would be 600, and an LP
of 70 ms."""


@dataclass(frozen=True)
class Prices:
    """What the master asks of a room: EUR per on-step, EUR per K of each node at the end."""

    on_cost_eur: Floats
    end_slope_eur_per_k: list[Floats]
    convexity_eur: Floats


class Master:
    """Site rows, tails and the growing set of columns; every column is kept."""

    def __init__(self, house: House, steps: int) -> None:
        self.house = house
        self.steps = steps
        self.base = LinearModel()
        self.site: SiteRows = build_site(self.base, house)
        self.site_rows = self.base.rows
        self.tail: list[RoomColumns] = []
        self.tail_rows: list[Ints] = []
        if steps < house.steps:
            self.tail, self.tail_rows = build_tail(self.base, house, self.site, steps)
        self._own = self.base.clone()
        """The base before the cuts of single steps, which are its last rows."""
        self.cuts: list[Cut] = []
        self._cut_steps = np.zeros(0, dtype=np.int64)
        self._cut_slopes = np.zeros((0, len(house.rooms)))
        high = self.base.vectors()[1]
        self._kinks = kinks(house, self.site, [high[c.grid_import] for c in self.site.scenarios])
        self.entries = [self.site.heat_entries(house, room.index) for room in house.rooms]
        self.tail_links = [self._links(room) for room in range(len(house.rooms))]
        self.columns: list[list[Column]] = [[] for _ in house.rooms]
        self._entries: list[list[Entries]] = [[] for _ in house.rooms]
        self._known: list[dict[bytes, int]] = [{} for _ in house.rooms]
        self._lps: dict[bool, HeldLp] = {}
        """LPs that go on, with cuts and without."""
        self.goes_on = not self.site.group_rows
        """Behind a boiler every solve begins anew: going on was no faster there, and on four houses the plans
        were 0.4 % dearer (rooms settle at the prices of degenerate corners, which then are other ones)."""
        self.count = 0
        self.whole: dict[int, float] = {}
        """Columns of the site that are fixed to whole values; none at first."""
        self.scarcity: Floats | None = None
        """Row prices at which all rooms together use what the limits allow, once they are known."""

    def _links(self, index: int) -> list[tuple[Ints, Floats]]:
        """(rows, gain (rows, nodes)) of the tail's first step that feel this room's end."""
        if not self.tail_rows:
            return []
        room = self.house.rooms[index]
        links = [(self.tail_rows[index], room.transition[self.steps])]
        for other in self.house.rooms:
            if index in other.neighbour_gain:
                gain = np.zeros((other.nodes, room.nodes))
                gain[:, 0] = other.neighbour_gain[index][self.steps]
                links.append((self.tail_rows[other.index], gain))
        return links

    def replace(self, room: int, columns: list[Column]) -> None:
        """Put re-priced columns (same schedules, same order) in place of a room's columns."""
        self._lps.clear()
        self.columns[room] = columns
        self._entries[room] = [self._entries_of(room, column) for column in columns]

    def _entries_of(self, room: int, column: Column) -> Entries:
        on = np.flatnonzero(column.relay)
        parts = [
            (rows[on], np.full(on.size, coefficient * self.house.rooms[room].power_kw))
            for rows, coefficient in self.entries[room]
        ]
        parts += [(rows, -gain @ column.end_c) for rows, gain in self.tail_links[room]]
        parts.append(self._cut_entries(room, column.relay, 0))
        return Entries(
            column.cost_eur,
            np.concatenate([rows for rows, _ in parts]),
            np.concatenate([values for _, values in parts]),
        )

    def _cut_entries(self, room: int, relay: Relay, first: int) -> tuple[Ints, Floats]:
        """(rows, values) of a schedule in the cuts from `first` on."""
        slopes = self._cut_slopes[first:, room] * relay[self._cut_steps[first:]]
        felt = np.flatnonzero(slopes)
        return self._own.rows + first + felt, -slopes[felt]

    def cuts_pay(self) -> bool:
        """Whether cuts are worth their rows: not behind a boiler, with several futures, below a peak that is
        paid for, or where the fuse is full half the time (plans as good or dearer, in twice the time)."""
        if self.site.group_rows or len(self.site.scenarios) > 1 or self.site.scenarios[0].peak >= 0:
            return False
        values, high = self.solve()[0].values, self._base_vectors[1]
        bought = self.site.scenarios[0].grid_import
        return float((values[bought] > high[bought] - 1e-6).mean()) < 0.5

    def cut(self, solution: Solution, chosen: list[Ints]) -> int:
        """Add the cuts that the fractions of schedules in a solution break; how many."""
        relays = np.zeros((len(self.columns), self.steps))
        for room, numbers in enumerate(chosen):
            shares = solution.values[numbers]
            for pick in np.flatnonzero(shares > 1e-9):
                relays[room] += shares[pick] * self.columns[room][pick].relay
        fresh = broken(self._kinks, relays, solution.values)
        if not fresh or len(self.cuts) > MOST_CUTS:
            return 0
        first = len(self.cuts)
        self.cuts += fresh
        self._cut_steps = np.array([cut.step for cut in self.cuts])
        self._cut_slopes = np.array([cut.slope for cut in self.cuts])
        rows = self.base.add_rows(len(fresh), np.array([cut.base for cut in fresh]), np.inf)
        self.base.put(*site_entries(fresh, int(rows[0])))
        for room, known in enumerate(self.columns):
            for number, column in enumerate(known):
                more_rows, more = self._cut_entries(room, column.relay, first)
                old = self._entries[room][number]
                self._entries[room][number] = Entries(
                    old.cost_eur, np.append(old.rows, more_rows), np.append(old.values, more)
                )
        return len(fresh)

    def add(self, room: int, column: Column) -> bool:
        """Add a schedule; False when the master has it already."""
        if self.find(room, column.relay) is not None:
            return False
        self._known[room][_key(column.relay)] = len(self.columns[room])
        self.columns[room].append(column)
        self._entries[room].append(self._entries_of(room, column))
        self.count += 1
        return True

    def find(self, room: int, relay: Relay) -> int | None:
        """Which of a room's columns has this schedule."""
        return self._known[room].get(_key(relay))

    def model(self, picked: dict[int, int]) -> tuple[LinearModel, list[Ints], Ints]:
        """(model, columns of each room's schedules, convexity rows).

        Of a room in `picked` the model holds that one schedule alone.
        """
        return self._with(
            [
                columns[picked[room] : picked[room] + 1] if room in picked else columns
                for room, columns in enumerate(self._entries)
            ]
        )

    def model_of(self, few: list[Ints]) -> tuple[LinearModel, list[Ints], Ints]:
        """As `model`, with these schedules of each room alone."""
        return self._with(
            [[self._entries[room][pick] for pick in picks] for room, picks in enumerate(few)]
        )

    def _with(self, held: list[list[Entries]]) -> tuple[LinearModel, list[Ints], Ints]:
        """As `model`, with these entries of each room."""
        model = self.base.clone()
        if all(len(columns) == 1 for columns in held):
            # whole relays keep all cuts, which only make the LP degenerate
            model.free_rows(np.arange(self._own.rows, self.base.rows))
        convexity = model.add_rows(len(self.columns), 1.0, 1.0)
        entries = [entry for columns in held for entry in columns]
        variables = model.variables(
            len(entries), 0.0, 1.0, np.array([entry.cost_eur for entry in entries])
        )
        if entries:
            model.put(
                np.concatenate([entry.rows for entry in entries]),
                np.repeat(variables, [entry.rows.size for entry in entries]),
                np.concatenate([entry.values for entry in entries]),
            )
        counts = [len(columns) for columns in held]
        model.put(np.repeat(convexity, counts), variables, 1.0)
        return model, np.split(variables, np.cumsum(counts)[:-1]), convexity

    def solve_tail(self, columns: list[Column]) -> Solution:
        """The LP with one schedule a room, in the master or not: what is left are site and tail."""
        held = [[self._entries_of(room, column)] for room, column in enumerate(columns)]
        return self._with(held)[0].solve("glop", fixed=self.whole, parameters=QUICK_GLOP)

    def solve(
        self, picked: dict[int, int] | None = None
    ) -> tuple[Solution, list[Ints], Prices]:
        """The LP relaxation, with the rooms in `picked` fixed to one of their schedules.

        Also returns the columns of each room's schedules and the prices that the LP sets.
        """
        picked = picked or {}
        found = self._solve_on(picked) if self.goes_on else None
        if found is None:
            self._lps.clear()
            model, chosen, _ = self.model(picked)
            found = model.solve("glop", fixed=self.whole, parameters=QUICK_GLOP), chosen
        solution, chosen = found
        return solution, chosen, self.prices(solution.duals, solution.duals[self.base.rows :])

    def _solve_on(self, picked: dict[int, int]) -> tuple[Solution, list[Ints]] | None:
        """From where the last solve ended; None where that leads nowhere.

        Whole relays keep all cuts, which would only make their LP degenerate; so that is another one.
        """
        within = bool(self.cuts) and len(picked) < len(self.columns)
        if within not in self._lps:
            self._lps[within] = HeldLp(self._own, len(self.columns))
        held = self._lps[within]
        held.hand_over(self._entries, self.cuts if within else [])
        found = held.solve(picked, self.whole)
        self.goes_on = not held.astray
        if found is None or within:
            return found
        own, rooms = np.split(found[0].duals, [self._own.rows])
        return replace(found[0], duals=np.concatenate([own, np.zeros(len(self.cuts)), rooms])), found[1]

    def crowded(
        self, prices: Prices, duals: Floats, picked: dict[int, int],
        scarcity: Floats | None = None,
    ) -> Prices:
        """`prices` with what a full heating group is sure to cost the rooms that are not `picked`.

        The duals share a limit out among fractions of schedules; a relay that needs more than what the
        picked rooms leave goes beyond it, whatever they say, and is priced at that. The duals stay in
        force where they ask for more, as long as other rooms are free, too. The last free room answers
        for all it does: it pays what goes beyond, or what `scarcity` asks if that is more.
        """
        on_cost = prices.on_cost_eur.copy()
        penalty = self.house.problem.grid.limit_penalty_eur_per_kwh * self.house.step_h[: self.steps]
        for number, rows in enumerate(self.site.group_rows):
            members = [room for room in self.house.rooms if room.group == number]
            free = [room for room in members if room.index not in picked]
            left = np.full(
                self.steps, self.house.problem.heating_groups[number].capacity_w / 1000.0
            )
            for room in members:
                if room.index in picked:
                    left -= room.power_kw * self.columns[room.index][picked[room.index]].relay
            for room in free:
                beyond = penalty * (
                    np.maximum(room.power_kw - left, 0.0) - np.maximum(-left, 0.0)
                )
                shared = -room.power_kw * duals[rows[: self.steps]]
                least = shared if len(free) > 1 else np.zeros(self.steps)
                if scarcity is not None:
                    least = -room.power_kw * scarcity[rows[: self.steps]]
                on_cost[room.index] += np.maximum(beyond, least) - shared
        return Prices(on_cost, prices.end_slope_eur_per_k, prices.convexity_eur)

    def beside(
        self, prices: Prices, solution: Solution, room: int, picked: list[int]
    ) -> Prices:
        """`prices` with what a room's relay is sure to cost beside all others, picked as in `solution`.

        The duals price the next watt. A relay takes many at once: first what is sold or curtailed, then
        what the grid and the giving way of battery and cars cost, in the order of their prices. What goes
        beyond the fuse, a phase's limit or the month's peak is priced at that; for the peak the battery's
        charging gives way first.
        """
        arrays, grid, steps = self.house.rooms[room], self.house.problem.grid, self.steps
        weights = self.house.problem.weights
        power, own = arrays.power_kw, np.zeros(steps)
        own += power * self.columns[room][picked[room]].relay
        # the cuts hold anyway for whole relays
        values, duals = solution.values, solution.duals
        change = -self._cut_prices(room, duals)
        order = MeritOrder(self.house, self.site, self._base_vectors, self._base_matrix, self.whole)
        worth = order.worth(duals[: self._own.rows])

        def beyond(used: Floats, limit: float) -> Floats:
            return np.asarray(power - np.clip(limit - used[:steps] + own, 0.0, power))

        for scenario, columns in zip(self.house.scenarios, self.site.scenarios, strict=True):
            per_kw = scenario.probability * self.house.step_h[:steps]
            penalty = grid.limit_penalty_eur_per_kwh * per_kw
            charge = 0.0 if columns.charge is None else values[columns.charge]
            bought = values[columns.grid_import] + values[columns.over_import]
            used = bought - values[columns.grid_export] - values[columns.over_export] - charge
            change += order.taking(columns, values, worth, own, power)
            change -= power * duals[columns.balance[:steps]]
            if columns.peak >= 0:
                peak = grid.peak_so_far_w / 1000.0 + values[columns.peak]
                price = grid.peak_price_eur_per_kw + weights.peak_eur_per_kw
                change += scenario.probability * price * beyond(used, peak)
            for phase, (rows, over_phase) in enumerate(
                zip(columns.phase_rows, columns.over_phase, strict=True)
            ):
                share = arrays.phase_shares[phase]
                if share > 0:
                    limit = (grid.phase_import_limit_w or 0.0) / 1000.0
                    used = self._base_matrix[rows] @ values[: self.base.columns] + values[over_phase]
                    for other in self.house.rooms:
                        relay = self.columns[other.index][picked[other.index]].relay
                        used[:steps] += other.phase_shares[phase] * other.power_kw * relay
                    left = np.clip(limit - used[:steps] + share * own, 0.0, share * power)
                    change += (share * power - left) * penalty + share * power * duals[rows[:steps]]
        on_cost = prices.on_cost_eur.copy()
        on_cost[room] += change
        return Prices(on_cost, prices.end_slope_eur_per_k, prices.convexity_eur)

    def _cut_prices(self, room: int, duals: Floats) -> Floats:
        """What the cuts charge each step of a room's relay, EUR; cuts younger than `duals` cost nothing."""
        duals = duals[self._own.rows : self.base.rows]
        paid = self._cut_slopes[: duals.size, room] * duals
        prices = np.zeros(self.steps)
        np.add.at(prices, self._cut_steps[: duals.size], paid)
        return prices

    @cached_property
    def _base_vectors(self) -> tuple[Floats, Floats, Floats]:
        return self._own.vectors()[:3]

    @cached_property
    def _base_matrix(self) -> csr_matrix:
        return self._own.matrix()

    def costs_at(self, room: int, prices: Prices) -> Floats:
        """What each known schedule of a room costs at these prices, EUR."""
        on_cost, slope = prices.on_cost_eur[room], prices.end_slope_eur_per_k[room]
        return np.array(
            [c.cost_eur + on_cost @ c.relay + slope @ c.end_c for c in self.columns[room]]
        )

    def prices(self, duals: Floats, convexity: Floats) -> Prices:
        """Prices for the rooms out of the duals of the base rows."""
        on_cost = np.zeros((len(self.columns), self.steps))
        slope = [np.zeros(room.nodes) for room in self.house.rooms]
        for room in self.house.rooms:
            for rows, coefficient in self.entries[room.index]:
                on_cost[room.index] -= coefficient * room.power_kw * duals[rows[: self.steps]]
            on_cost[room.index] += self._cut_prices(room.index, duals)
            for rows, gain in self.tail_links[room.index]:
                slope[room.index] = slope[room.index] + duals[rows] @ gain
        return Prices(on_cost, slope, convexity)


def _key(relay: Relay) -> bytes:
    return relay.astype(np.uint8).tobytes()
