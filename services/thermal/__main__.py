"""``python -m services.thermal``: the thermal service as a process of its own."""

from chassis.runner import main
from services.thermal.service import Thermal

if __name__ == "__main__":
    main(lambda settings: Thermal())
