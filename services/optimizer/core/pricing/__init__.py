"""Price whole relay schedules of a room against marginal prices, with a certified bound.

The subproblem of the planner's column generation; README.md says how and why it holds.
"""

from .one_node_price import price_room
from .room import RoomPriced, RoomPricing, grids_follow
from .schedules import is_feasible
from .scratch import Scratch
from .two_node_price import price_room_two_node
from .two_node_room import TwoNodeRoomPricing, split_modes

__all__ = [
    "RoomPriced",
    "RoomPricing",
    "Scratch",
    "TwoNodeRoomPricing",
    "grids_follow",
    "is_feasible",
    "price_room",
    "price_room_two_node",
    "split_modes",
]
