"""Makes the broker what the catalogue says: secrets, users and permissions, stream, consumers.

Only this module creates or changes anything on the broker; services assert what they find.
Everything is derived from ``contracts.catalog``, so a new event needs no line here.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from pathlib import Path
from typing import Any

from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    ObjectStoreConfig,
    RetentionPolicy,
    StorageType,
    StoreCompression,
    StreamConfig,
)
from nats.js.errors import NotFoundError

from chassis import monitor, signing
from chassis.settings import Settings
from contracts import catalog
from contracts.site import SiteConfig

ACK_WAIT_S = 10
"""How long the broker waits before it delivers again; long work reports progress every 3 s."""
DUPLICATE_WINDOW_S = 600
USERS = (*catalog.SERVICES, "twin", "operator", "trainer", "client", "reader", "miniserver")


class ProvisioningError(RuntimeError):
    """The broker is not what the house needs; says what to change."""


def make_secrets(settings: Settings) -> None:
    """Make every missing secret, 0600, once. Nothing that exists is touched."""
    for user in USERS:
        path = settings.secret_path(user)
        if not path.exists():
            write_secret(path, secrets.token_urlsafe(32))
    if not settings.signing_key_path.exists():
        seed = signing.new_seed()
        write_secret(settings.signing_key_path, base64.b64encode(seed).decode())
        public = base64.b64encode(signing.Signer(seed).public_bytes).decode()
        settings.verify_key_path.write_text(public + "\n")


def write_secret(path: Path, content: str) -> None:
    """Write a file that only its owner may read."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(content + "\n")


def permissions(user: str, settings: Settings) -> dict[str, Any]:
    """What a broker user may publish and subscribe to.

    No service holds ``$JS.API.>``: whoever does can make the server deliver an unapproved
    proposal onto the verdict subject. A service may fetch from its own consumer, acknowledge,
    and read the log by direct get; that is all.
    """
    site, stream = settings.site, settings.stream
    read = [f"$JS.API.DIRECT.GET.{stream}", f"$JS.API.STREAM.INFO.{stream}"]
    models = [f"$JS.API.DIRECT.GET.{settings.bucket_stream}"]
    inbox = [f"_INBOX.{user}.>"]
    publish = [*catalog.publish_subjects(user, site)]
    if user == "operator":
        return {"publish": {"deny": [f"pems.{site}.command.>"]}, "subscribe": [">"]}
    if user == "miniserver":
        return {"publish": [f"loxone.{site}.>"], "subscribe": [f"loxone.{site}.>"]}
    if user == "twin":  # it may look at every consumer, to know when a tick is done
        publish += [f"$JS.API.CONSUMER.LIST.{stream}", *read]
    elif user == "trainer":  # the one user that may add models; nobody's model is in force by that
        publish += [*read, *models, f"$O.{settings.bucket}.C.*", f"$O.{settings.bucket}.M.*"]
    elif user == "reader":
        publish += [*read, *models]
    elif user == "client":  # Home Assistant comes as this user, and says when it starts and ends
        publish += [*read, "homeassistant.status"]
    else:
        publish += [
            f"$JS.API.CONSUMER.INFO.{stream}.{user}",
            f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{user}",
            f"$JS.ACK.{stream}.{user}.>",
            *read,
        ]
    if user in catalog.BY_TYPE["system.model-promoted"].heard_by:
        publish += models
    subscribe = list(inbox)
    if user == "gateway":
        shown = [f"homeassistant.device.pems-{site}.config", f"homeassistant.pems.{site}.state"]
        publish += [f"loxone.{site}.>", *shown]
        subscribe += [f"loxone.{site}.>", "homeassistant.status"]
    if user == "client":
        subscribe += ["homeassistant", "homeassistant.>"]  # both are homeassistant/# to the broker
    return {"publish": publish, "subscribe": subscribe}


def server_config(
    settings: Settings, host: str = "127.0.0.1", port: int = 4222, mqtt_port: int = 1883,
    monitor_port: int = 8222, store: str | None = None,
) -> str:
    """The nats-server configuration: JSON, which its parser reads. Holds passwords: keep 0600."""
    users = [
        {
            "user": user,
            "password": settings.password(user),
            "permissions": permissions(user, settings),
        }
        for user in USERS
    ]
    config = {
        "server_name": f"pems-{settings.site}",
        "listen": f"{host}:{port}",
        "http": f"{host}:{monitor_port}",
        "mqtt": {"listen": f"{host}:{mqtt_port}"},
        "max_payload": 4_194_304,
        "jetstream": {
            "store_dir": store or str((settings.home / "nats").resolve()),
            "sync_interval": "always",
        },
        "accounts": {"PEMS": {"jetstream": "enabled", "users": users}},
    }
    return json.dumps(config, indent=1)


def stream_config(settings: Settings) -> StreamConfig:
    """The site's log: nothing ages, nothing is deleted, a full disk is loud."""
    return StreamConfig(
        name=settings.stream,
        subjects=[f"pems.{settings.site}.>"],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        max_age=0,
        duplicate_window=DUPLICATE_WINDOW_S,
        compression=StoreCompression.S2,
        allow_direct=True,
        deny_delete=True,
        deny_purge=True,
    )


def consumer_config(service: str, settings: Settings, site: SiteConfig) -> ConsumerConfig:
    """A service's consumer: in order, one at a time, until acknowledged."""
    names = {
        "room": [room.id for room in site.rooms],
        "ev": [ev.id for ev in site.evs],
        "load": [load.id for load in site.loads],
    }
    return ConsumerConfig(
        name=service,
        durable_name=service,
        deliver_policy=DeliverPolicy.ALL,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ACK_WAIT_S,
        max_ack_pending=1,
        max_deliver=-1,
        filter_subjects=catalog.filter_subjects(service, settings.site, names),
    )


async def provision(js: JetStreamContext, settings: Settings, site: SiteConfig) -> None:
    """Create or adapt the stream, the model store and every service's consumer. Safe to repeat."""
    wanted = stream_config(settings)
    try:
        found = (await js.stream_info(settings.stream)).config
    except NotFoundError:
        await js.add_stream(wanted)
    else:
        problems = differences(wanted, found)
        if problems:
            raise ProvisioningError(
                f"stream {settings.stream} exists with other settings: {'; '.join(problems)}. "
                "The log is never altered: move the old data folder away or correct the code."
            )
    try:
        await js.stream_info(settings.bucket_stream)
    except NotFoundError:
        await js.create_object_store(
            settings.bucket, ObjectStoreConfig(storage=StorageType.FILE)
        )
    for service in catalog.SERVICES:
        await js.add_consumer(settings.stream, consumer_config(service, settings, site))


def differences(wanted: StreamConfig, found: StreamConfig) -> list[str]:
    """Settings of the log that are not as they must be."""
    names = ("subjects", "retention", "storage", "discard", "max_age", "duplicate_window",
             "compression", "allow_direct", "deny_delete", "deny_purge")  # fmt: skip
    return [
        f"{name} is {getattr(found, name)!r}, must be {getattr(wanted, name)!r}"
        for name in names
        if (getattr(found, name) or None) != (getattr(wanted, name) or None)
    ]


def consumer_problems(found: ConsumerConfig) -> list[str]:
    """What is wrong with a service's consumer; empty when all is well."""
    problems = []
    if found.max_ack_pending != 1:
        problems.append(f"max_ack_pending is {found.max_ack_pending}, must be 1 (order)")
    if found.ack_policy != AckPolicy.EXPLICIT:
        problems.append(f"ack_policy is {found.ack_policy}, must be explicit")
    if found.max_deliver not in (None, -1):
        problems.append(f"max_deliver is {found.max_deliver}, must be unlimited")
    if found.deliver_subject:
        problems.append("deliver_subject is set, must be a pull consumer")
    return problems


def assert_durable(monitor_url: str) -> None:
    """Refuse a broker that acknowledges before the disk has it.

    Raises
    ------
    ProvisioningError
        when the server does not run with ``sync_interval: always``.
    """
    config = monitor.ask(monitor_url, "jsz?config=1", timeout_s=5).get("config", {})
    if not config.get("sync_always"):
        raise ProvisioningError(
            "the broker acknowledges before the disk has it; set jetstream.sync_interval: always"
        )
