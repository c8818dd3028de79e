"""Log-in benchmark: the lag of the event loop under 50 log-ins at once, and whether time reveals an account.

Run `python -m bench.login`; --quick takes fewer samples. The auth service runs in this process, with a task that
measures the lag of its event loop. The user service and the client run in processes of their own. The second figure is
Welch's t between the response times of known and unknown addresses with wrong passwords; |t| below 4.5 means that they
cannot be told apart. Prints both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import subprocess
import sys
import time
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, median, quantiles, variance
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from uuid import UUID

import structlog
from google.protobuf.field_mask_pb2 import FieldMask
from pydantic import SecretStr

from contracts.errors import CredentialsInvalid
from contracts.services import SERVICE_NAMES
from interceptors.keys.keyring import mint_key, record_of_key
from local.keys import OPERATOR, default_scopes
from local.postgres.server import EmbeddedPostgres
from local.service_databases import SERVICES_FOLDER, database_url_of
from mesh.config import child_environment, load_settings
from mesh.data.database import Database
from mesh.data.migrations import migrate
from mesh.serving.channel import Channels
from mesh.serving.event_loop import service_loop
from mesh.serving.keyring_file import format_keyring
from mesh.serving.process import serving
from mesh.transaction import Transaction
from services.auth.app import SERVICE
from services.auth.passwords.hasher import open_hasher
from services.auth.passwords.store import PasswordStore
from solo60.auth.v1.auth_pb2 import LogInRequest
from solo60.auth.v1.auth_pb2_grpc import AuthServiceStub
from solo60.user.v1.user_pb2 import CreateUserRequest, UpdateUserRequest, User
from solo60.user.v1.user_pb2_grpc import UserServiceStub
from tests.support.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from mesh.config import Settings

PASSWORD = "correct horse battery staple"  # noqa: S105 - of this benchmark
AT_ONCE = 50
ROUNDS = 5
SAMPLES = 2_000
PROBE_PAUSE_S = 0.001
MS = 1000.0
# No limit may reject a log-in of this benchmark.
LIMITS = {
    "deadline_factor": 10.0,
    "rate_limit_factor": 1000.0,
    "shed_queue_delay_s": 60.0,
    "shed_least_concurrency": 1000,
}
# A log-in of a separate address for each sample, so that no pause begins.
KNOWN, UNKNOWN = "known-{}@members.example", "unknown-{}@members.example"


class LagProbe:
    """Probe that sleeps for a millisecond again and again, and records how late it wakes up."""

    def __init__(self) -> None:
        self.lags_s: list[float] = []

    async def run(self) -> None:
        while True:
            due_s = time.perf_counter() + PROBE_PAUSE_S
            await asyncio.sleep(PROBE_PAUSE_S)
            self.lags_s.append(time.perf_counter() - due_s)


def settings_in(folder: Path, urls: dict[str, str], key: str, database_url: str = "") -> Settings:
    return load_settings(
        data_dir=folder,
        keyring_file=folder / "keyring.json",
        service_api_key=SecretStr(key),
        database_url=SecretStr(database_url) if database_url else None,
        **urls,
        **LIMITS,
    )


def environment_of(settings: Settings) -> dict[str, str]:
    key, database_url = settings.service_api_key, settings.database_url
    return child_environment(
        data_dir=settings.data_dir,
        keyring_file=settings.keyring_file,
        service_api_key=key.get_secret_value() if key else None,
        database_url=database_url.get_secret_value() if database_url else None,
        log_level="warning",
        auth_service_url=settings.url_of("auth"),
        user_service_url=settings.url_of("user"),
        **LIMITS,
    )


@asynccontextmanager
async def user_service(settings: Settings) -> AsyncIterator[None]:
    process = subprocess.Popen(  # noqa: ASYNC220 - starts before anything is measured
        [sys.executable, "-m", "services.user"], env=environment_of(settings), stdout=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


async def add_users(settings: Settings, database_url: str, count: int) -> None:
    """Add confirmed users with one password hash, directly in the database of the auth service."""
    channels, database = Channels(settings, lambda: _key_of(settings)), await Database.connect(database_url)
    users, store = channels.stub(UserServiceStub), PasswordStore(database)
    await channels.channel("user").channel_ready()
    with open_hasher() as hasher:
        password_hash = await hasher.hash(PASSWORD)
    for number in range(count):
        request = CreateUserRequest(email=KNOWN.format(number), display_name="Ada")
        user_id = (await users.CreateUser(request)).user.user_id
        confirmed = User(user_id=user_id, email_confirmed=True)
        await users.UpdateUser(UpdateUserRequest(user=confirmed, update_mask=FieldMask(paths=["email_confirmed"])))
        async with Transaction.begin(database) as tx:
            await store.set(tx, UUID(user_id), password_hash, datetime.now(UTC))
    await database.close()
    await channels.close()


async def measure(samples: int) -> None:
    with TemporaryDirectory() as name:
        folder, keys = Path(name), {caller: mint_key("bench") for caller in (*SERVICE_NAMES, OPERATOR)}
        folder.chmod(0o755)  # noqa: ASYNC240 - before anything is measured; PostgreSQL runs as another user
        records = [record_of_key(key, caller, default_scopes(caller) or ()) for caller, key in keys.items()]
        (folder / "keyring.json").write_text(format_keyring(records), encoding="utf-8")
        async with EmbeddedPostgres(folder / "postgres") as postgres:
            ports = zip(("auth", "user"), free_ports(2), strict=True)
            addresses = {f"{service}_service_url": f"127.0.0.1:{port}" for service, port in ports}
            urls = {service: database_url_of(postgres.url, service) for service in ("auth", "user")}
            for service, url in urls.items():
                await migrate(url, SERVICES_FOLDER / service / "migrations")
            async with user_service(settings_in(folder, addresses, keys["user"], urls["user"])):
                await add_users(
                    settings_in(folder, addresses, keys[OPERATOR]), urls["auth"], AT_ONCE * ROUNDS + samples // 2
                )
                await _measure_service(
                    settings_in(folder, addresses, keys["auth"], urls["auth"]),
                    settings_in(folder, addresses, keys[OPERATOR]),
                    samples,
                )


async def _measure_service(own: Settings, operator: Settings, samples: int) -> None:
    probe = LagProbe()
    async with serving(SERVICE, own, own.listen_address_of("auth")):
        probing = asyncio.create_task(probe.run())
        await _client(operator, "burst", "1")
        idle = len(probe.lags_s)
        await asyncio.sleep(1)
        idle_lags, begin = probe.lags_s[idle:], len(probe.lags_s)
        took_ms = json.loads(await _client(operator, "burst", str(AT_ONCE)))
        probing.cancel()
        lags = probe.lags_s[begin:]
        print(f"{AT_ONCE} log-ins at once, {ROUNDS} times: each round took {median(took_ms):.0f} ms (median)")
        print(f"loop lag while idle: p50 {_quantile(idle_lags, 50):.2f} ms, p99 {_quantile(idle_lags, 99):.2f} ms")
        print(
            f"loop lag under load: p50 {_quantile(lags, 50):.2f} ms, p99 {_quantile(lags, 99):.2f} ms (goal: below 20)"
        )
        known, unknown = json.loads(await _client(operator, "times", str(samples)))
    print(f"known addresses: {fmean(known):.3f} ms on average; unknown addresses: {fmean(unknown):.3f} ms")
    print(f"Welch's t over {samples} samples: {welch_t(known, unknown):+.2f} (goal: below 4.5 in absolute value)")


async def _client(settings: Settings, *arguments: str) -> bytes:
    """Run a client in a process of its own and return its output."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.login",
        "--client",
        *arguments,
        env=environment_of(settings),
        stdout=subprocess.PIPE,
    )
    written, _ = await process.communicate()
    return written


async def run_client(kind: str, count: int) -> object:
    settings = load_settings()
    channels = Channels(settings, lambda: _key_of(settings))
    stub = channels.stub(AuthServiceStub)
    await channels.channel("auth").channel_ready()

    async def log_in(email: str, password: str) -> float:
        started_s = time.perf_counter()
        with suppress(CredentialsInvalid):
            await stub.LogIn(LogInRequest(email=email, password=password))
        return (time.perf_counter() - started_s) * MS

    async def burst(round_number: int) -> float:
        started_s = time.perf_counter()
        emails = [KNOWN.format(round_number * AT_ONCE + number) for number in range(count)]
        await asyncio.gather(*[log_in(email, PASSWORD) for email in emails])
        return (time.perf_counter() - started_s) * MS

    if kind == "burst":
        times: object = [await burst(number) for number in range(ROUNDS)]
    else:
        order = [(form, number) for form in (KNOWN, UNKNOWN) for number in range(count // 2)]
        random.shuffle(order)
        found: dict[str, list[float]] = {KNOWN: [], UNKNOWN: []}
        for form, number in order:
            found[form].append(await log_in(form.format(number + AT_ONCE * ROUNDS), "wrong password"))
        times = [found[KNOWN], found[UNKNOWN]]
    await channels.close()
    return times


def welch_t(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Welch's t statistic of two samples."""
    spread: float = (variance(first) / len(first) + variance(second) / len(second)) ** 0.5
    return (fmean(first) - fmean(second)) / spread


def _quantile(lags_s: Sequence[float], percent: int) -> float:
    return quantiles(lags_s, n=100)[percent - 1] * MS


def _key_of(settings: Settings) -> str:
    return settings.service_api_key.get_secret_value() if settings.service_api_key else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m bench.login")
    parser.add_argument("--quick", action="store_true", help="take fewer samples")
    parser.add_argument("--client", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.client:
        kind, count = arguments.client
        print(json.dumps(asyncio.run(run_client(kind, int(count)))))
        return
    # The access log of a service process goes to a buffered file; here it would go to the terminal.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with service_loop() as runner:
        runner.run(measure(SAMPLES // 10 if arguments.quick else SAMPLES))


if __name__ == "__main__":
    main()
