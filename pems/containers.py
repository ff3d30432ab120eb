"""The two one-shot containers of docker-compose.yml.

``prepare`` (root, no network needed) makes every secret and the broker's configuration and gives
each volume to the user of the services; ``provision`` makes stream and consumers and puts the
configuration on the log. Both may run again at any time.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from chassis.provision import assert_durable, make_secrets, server_config, write_secret
from chassis.settings import Settings
from pems import config
from pems.run import load
from pems.run import prepare as put_on_log

OWNER = 10_001
VOLUMES = ("/pems", "/broker", "/data", "/state")


def prepare(settings: Settings) -> None:
    """Secrets, broker configuration, owners."""
    make_secrets(settings)
    text = server_config(settings, host="0.0.0.0", store="/data")
    write_secret(Path("/broker/nats-server.conf"), text)
    for volume in VOLUMES:
        for folder, _, files in os.walk(volume):
            os.chown(folder, OWNER, OWNER)
            for name in files:
                os.chown(Path(folder) / name, OWNER, OWNER)


def provision(settings: Settings) -> None:
    """Stream, consumers, configuration."""
    assert_durable(os.environ["PEMS_MONITOR_URL"])
    site, safety = load(Path("/house/site.yaml"), Path("/house/safety.yaml"))
    if site.site != settings.site:
        raise config.ConfigError(
            f"PEMS_SITE is {settings.site!r}, the site file says {site.site!r}; make them equal"
        )
    asyncio.run(put_on_log(settings, site, safety))


if __name__ == "__main__":
    {"prepare": prepare, "provision": provision}[sys.argv[1]](Settings.from_environment())
