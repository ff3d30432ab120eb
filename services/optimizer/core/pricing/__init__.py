"""Price whole relay schedules of a room against marginal prices, with a certified bound.

The subproblem of the planner's column generation; README.md says how and why it holds.
"""

from .one_node_price import price_room
from .room import Corridor, RoomPriced, RoomPricing
from .schedules import is_feasible
from .scratch import Scratch

__all__ = ["Corridor", "RoomPriced", "RoomPricing", "Scratch", "is_feasible", "price_room"]
