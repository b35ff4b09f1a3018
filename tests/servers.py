"""Real servers for tests: a PostgreSQL of our own, a Redis, an OpenSSH server.

Belongs here: starting a private server in a temporary folder and ending it. Does not belong here: what is in it.

Each session of pytest (each worker of xdist) that asks for a server gets one of its own; mark such tests with one
``xdist_group`` so that they share it. Without the program a test is skipped with the reason, with CI set it fails.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

SECONDS = 30
# Nothing here outlives the tests, so nothing has to reach the disk.
SETTINGS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "lc_messages=C", "timezone=UTC")


@dataclass
class Postgres:
    """A server: loopback port and socket folder, superuser and password made for this run."""

    port: int
    folder: Path
    user: str = "npr"
    password: str = field(default_factory=lambda: secrets.token_hex(12), repr=False)

    def url(self, database: str = "postgres", *, user: str = "", password: str = "", driver: str = "postgresql") -> str:
        """An address for SQLAlchemy and psycopg."""
        who = f"{user or self.user}:{password or self.password}"
        return f"{driver}://{who}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """A connection that commits each statement."""
        return psycopg.connect(self.url(database), autocommit=True)

    def create(self, name: str) -> str:
        """An empty database in place of an earlier one; its address."""
        with self.connect() as db:
            db.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            db.execute(f'CREATE DATABASE "{name}"')
        return self.url(name)


@dataclass(frozen=True)
class Redis:
    """A server on a loopback port."""

    port: int

    def url(self, number: int = 0) -> str:
        """An address for Celery."""
        return f"redis://127.0.0.1:{self.port}/{number}"


@dataclass(frozen=True)
class Area:
    """An OpenSSH server with keys of its own: files are those of this machine. host_key, other: kind and key."""

    port: int
    key: Path
    other: str
    host_key: str

    @property
    def user(self) -> str:
        """Whoever runs the tests."""
        return pwd.getpwuid(os.geteuid()).pw_name


def wanting(program: str) -> None:
    """Skip for want of a program; in CI nothing may be skipped."""
    if os.environ.get("CI"):
        pytest.fail(f"{program} is not there; .ci/run installs it")
    pytest.skip(f"{program} is not there")


def postgres_programs() -> Path | None:
    """The folder of initdb and postgres: on PATH, or where Debian puts the newest version."""
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return places[-1].parent if places else None


@contextmanager
def running_postgres(programs: Path) -> Iterator[Postgres]:
    """A cluster in a folder of its own, gone when the block ends."""
    with _private_folder("npr-postgres-") as (folder, environment, become):
        server = Postgres(_free_port(), folder)
        secret, data = folder / "password", folder / "data"
        secret.write_text(server.password, encoding="utf-8")
        _hand_over(folder, become)
        init: list[str | Path] = [
            "-D",
            data,
            "-U",
            server.user,
            "--pwfile",
            secret,
            "-A",
            "scram-sha-256",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
        ]
        _run([*become, programs / "initdb", *init, "--no-sync"], environment)
        options = [part for setting in SETTINGS for part in ("-c", setting)]
        listen = ["-h", "127.0.0.1", "-p", str(server.port), "-k", str(folder)]
        command: list[str | Path] = [*become, programs / "postgres", "-D", data, *listen, *options]
        with _process(command, environment, folder / "log", signal.SIGQUIT) as process:  # at once
            _wait(lambda: server.connect().close(), process, folder / "log")
            yield server


@contextmanager
def running_redis(program: str) -> Iterator[Redis]:
    """A Redis that keeps nothing on disk, gone when the block ends."""
    with _private_folder("npr-redis-") as (folder, environment, _):
        server = Redis(_free_port())
        command = [program, "--port", str(server.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        with _process(command, environment, folder / "log") as process:
            _wait(lambda: socket.create_connection(("127.0.0.1", server.port), 1).close(), process, folder / "log")
            yield server


def sshd_program() -> str | None:
    """The server of OpenSSH, which has to be called by its whole path."""
    return shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin")


@contextmanager
def running_sshd(program: str) -> Iterator[Area]:
    """A server for SFTP that lets the user of the tests in by a key, gone when the block ends."""
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with _private_folder("npr-sshd-") as (folder, environment, _):
        for name in ("host", "other", "client"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
        (folder / "authorized").write_bytes((folder / "client.pub").read_bytes())
        port = _free_port()
        lines = [f"Port {port}", "ListenAddress 127.0.0.1", f"HostKey {folder}/host", "PidFile none", "UsePAM no"]
        lines += [f"AuthorizedKeysFile {folder}/authorized", "PasswordAuthentication no", "StrictModes no"]
        lines += ["PermitRootLogin yes", "Subsystem sftp internal-sftp"]
        (folder / "sshd_config").write_text("\n".join(lines) + "\n", encoding="utf-8")
        command: list[str | Path] = [program, "-D", "-e", "-f", folder / "sshd_config"]
        host, other = (
            " ".join((folder / f"{name}.pub").read_text(encoding="utf-8").split()[:2]) for name in ("host", "other")
        )
        with _process(command, environment, folder / "log") as process:
            _wait(lambda: socket.create_connection(("127.0.0.1", port), 1).close(), process, folder / "log")
            yield Area(port, folder / "client", other, host)


@contextmanager
def _private_folder(prefix: str) -> Iterator[tuple[Path, dict[str, str], list[str]]]:
    """A folder with a short path (sockets), the environment of the server, and what makes it run as no root."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {
        "LC_ALL": "C.UTF-8"
    }
    become: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        known = {entry.pw_name for entry in pwd.getpwall()}
        user = "postgres" if "postgres" in known else "nobody"
        become = ["setpriv", f"--reuid={user}", f"--regid={pwd.getpwnam(user).pw_gid}", "--clear-groups"]
    try:
        yield folder, environment, become
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _hand_over(folder: Path, become: list[str]) -> None:
    if become:
        owner = become[1].partition("=")[2]
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, owner)


def _run(command: Sequence[str | Path], environment: Mapping[str, str]) -> None:
    done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@contextmanager
def _process(
    command: Sequence[str | Path],
    environment: Mapping[str, str],
    log: Path,
    end: signal.Signals = signal.SIGTERM,
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out, subprocess.Popen(command, env=environment, cwd="/", stdout=out, stderr=out) as process:
        try:
            yield process
        finally:
            process.send_signal(end)
            try:
                process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(probe: Callable[[], object], process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + SECONDS
    while True:
        try:
            probe()
        except (psycopg.Error, OSError):
            assert process.poll() is None, log.read_text(encoding="utf-8", errors="replace")
            assert time.monotonic() < until, "the server does not answer"
            time.sleep(0.05)
        else:
            return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
