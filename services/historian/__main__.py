"""``python -m services.historian``: the historian as a process of its own."""

from chassis.runner import main
from services.historian.service import Historian

if __name__ == "__main__":
    main(lambda settings: Historian(settings.state / "archive"))
