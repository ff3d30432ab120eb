"""``python -m services.optimizer``: the optimizer service as a process of its own."""

from chassis.runner import main
from services.optimizer.service import Optimizer

if __name__ == "__main__":
    main(lambda settings: Optimizer())
