"""What Dagster loads: the definitions over the settings that the environment names.

Belongs here: nothing else. Importing this module reads ``npr.toml`` (NPR_CONFIG) and fails where it is wrong.
"""

from __future__ import annotations

import dagster as dg

from pipelines.definitions import JOB, build
from pipelines.scheduling.automation import PREPARE
from pipelines.settings import load_settings

defs = build(load_settings())


def job() -> dg.JobDefinition:
    """The job, for processes that must find it by name."""
    return defs.resolve_job_def(JOB)


def prepare() -> dg.JobDefinition:
    """The job without the last stage."""
    return defs.resolve_job_def(PREPARE)
