"""``python -m services.safety``: the safety service as a process of its own."""

from chassis.runner import main
from chassis.signing import Signer
from services.safety.service import Safety

if __name__ == "__main__":
    main(lambda settings: Safety(Signer.from_file(settings.signing_key_path)))
