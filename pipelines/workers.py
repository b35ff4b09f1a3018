"""Several workers: the same stages, each handed to a Celery worker by a broker.

Belongs here: the configuration that ``npr run`` and workers share, what a worker loads (``app``), whether the broker is
there. Does not belong here: the stages, and what Dagster keeps (its own storage).

Broker and results are named by the environment alone (NPR_CELERY_BROKER, NPR_CELERY_BACKEND), since addresses hold
passwords: Dagster keeps the names of the variables, and never what is in them.
"""

from __future__ import annotations

import os
import warnings
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pipelines.settings import load_settings
from schemas.config import Workers
from schemas.errors import DataRefused, WrongUse

if TYPE_CHECKING:
    import dagster as dg
    from celery import Celery

BROKER, BACKEND = "NPR_CELERY_BROKER", "NPR_CELERY_BACKEND"
RESULT_SECONDS = 24 * 3600


def executor(workers: Workers) -> dg.ExecutorDefinition:
    """Dagster's executor for Celery. WrongUse where the extra is not installed."""
    insist_installed()
    from dagster_celery import celery_executor  # noqa: PLC0415 - the extra

    config: dict[str, Any] = {
        "broker": {"env": BROKER},
        "backend": {"env": BACKEND},
        "config_source": _config_source(workers),
    }
    made: dg.ExecutorDefinition = celery_executor.configured(config, name="celery")
    return made


def insist_installed() -> None:
    """WrongUse where the extra is not installed. Imports nothing: a worker looks before it becomes another program."""
    if find_spec("dagster_celery") is None:
        raise WrongUse(
            "executor celery needs packages that are not installed",
            where="npr.toml, executor",
            fix="pip install 'npr-pipeline[workers]'",
        )


def _config_source(workers: Workers) -> dict[str, Any]:
    return {
        # A stage is taken off the queue when it is done, not when it is begun: a worker that dies loses nothing.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        "broker_transport_options": {"visibility_timeout": workers.redeliver_after},
        "broker_connection_retry_on_startup": True,
        "result_expires": RESULT_SECONDS,
    }


def addresses() -> tuple[str, str]:
    """Broker and result backend. WrongUse where the environment does not name them."""
    if missing := [name for name in (BROKER, BACKEND) if not os.environ.get(name)]:
        raise WrongUse(
            f"{' and '.join(missing)} not set",
            where="environment",
            fix="name the broker, e.g. redis://host:6379/0, for npr run and for each worker (docs/operations.md)",
        )
    return os.environ[BROKER], os.environ[BACKEND]


def app() -> Celery:
    """What a worker runs: ``pipelines.celery_app``, over the settings of the environment."""
    from dagster_celery.make_app import make_app  # noqa: PLC0415 - the extra
    from dagster_celery.tasks import create_task  # noqa: PLC0415

    broker, backend = addresses()
    source = _config_source(load_settings().config.workers)
    made: Celery = make_app({"broker": broker, "backend": backend, "config_source": source})  # type: ignore[no-untyped-call]
    create_task(made)  # type: ignore[no-untyped-call]
    return made


def insist_broker(workers: Workers) -> None:
    """DataRefused when the broker does not answer; the library's own text would name its address."""
    from celery import Celery  # noqa: PLC0415 - the extra
    from kombu.exceptions import KombuError  # noqa: PLC0415

    # Dagster makes its task anew for each stage it hands out, which Celery warns of.
    warnings.filterwarnings("ignore", message="Task name 'execute_plan' is already registered")
    broker, backend = addresses()
    celery = Celery("npr", broker=broker, backend=backend, config_source=_config_source(workers))
    try:
        with celery.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0)
    except (KombuError, OSError, ValueError):
        raise DataRefused(
            "the broker of the workers cannot be reached",
            where=BROKER,
            fix="see that it runs, and that the address has the form redis://host:6379/0; then run again",
        ) from None
