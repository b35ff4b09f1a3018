"""What ``npr worker`` loads: the Celery app over the settings that the environment names.

Belongs here: nothing else (``pipelines.workers``).
"""

from __future__ import annotations

from pipelines import location
from pipelines.workers import app as _app

# Loaded now and not with the first stage: wrong settings show when the worker starts.
location.job()
app = _app()
