"""``python -m services.gateway``: the gateway as a process of its own."""

from chassis.runner import main
from chassis.settings import Settings
from chassis.signing import Verifier
from services.gateway.field import Addresses, HouseField
from services.gateway.service import Gateway


def make(settings: Settings) -> Gateway:
    """The gateway with the real devices that the environment names."""
    field = HouseField(
        Addresses.from_environment(), settings.password("gateway"), settings.state
    )
    return Gateway(field, Verifier.from_file(settings.verify_key_path))


if __name__ == "__main__":
    main(make)
