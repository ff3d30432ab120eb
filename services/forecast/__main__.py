"""``python -m services.forecast``: the forecast service as a process of its own."""

from chassis.runner import main
from services.forecast.service import Forecast

if __name__ == "__main__":
    main(lambda settings: Forecast())
