"""``python -m services.dispatcher``: the dispatcher service as a process of its own."""

from chassis.runner import main
from services.dispatcher.service import Dispatcher

if __name__ == "__main__":
    main(lambda settings: Dispatcher())
