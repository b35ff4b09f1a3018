"""What became of the runs that schedules and sensors asked for, as Dagster knows it.

Belongs here: telling a run that waits or works from one that is over, and one that refused from one that was killed.
Does not belong here: starting runs (``pipelines.scheduling.automation``), how long a start counts
(``pipelines.ledger.book``).
"""

from __future__ import annotations

from typing import Final

import dagster as dg
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

from pipelines.ledger.book import SqlLedger
from pipelines.ledger.owner import is_gone

START: Final = "npr/start"
"""Tag of a run: under which name the ledger keeps its start."""


class Started:
    """Runs by the name of their start."""

    def __init__(self, instance: dg.DagsterInstance, ledger: SqlLedger) -> None:
        self._instance = instance
        self._ledger = ledger

    def going(self, start_key: str) -> bool:
        """Whether the newest run of a start waits, works, or ended by a refusal, which would only come again.

        A run whose process is known to be gone is reported as failed first: Dagster's own monitoring does not see
        that of runs on its own machine, and keeps their slots for ever.
        """
        found = self._instance.get_runs(dg.RunsFilter(tags={START: start_key}), limit=1)
        if not found:
            return False
        run = found[0]
        if run.status is dg.DagsterRunStatus.STARTED and is_gone(self._ledger.runners([start_key]).get(start_key, "")):
            self._instance.report_run_failed(run, "The process of this run is gone; it is started again.")
            return False
        return run.status in NOT_FINISHED_STATUSES or self._refused(run)

    def _refused(self, run: dg.DagsterRun) -> bool:
        """A stage that refused has written so; a process that was killed has not."""
        failed = dg.DagsterEventType.STEP_FAILURE
        return run.status is dg.DagsterRunStatus.FAILURE and bool(self._instance.all_logs(run.run_id, of_type=failed))
