"""Extracts that lie ready: the drop folder, and the folders that ``npr.toml`` names.

Belongs here: when a delivery is complete and at rest, and which is the newest of a unit. Does not belong here: reading
data files (``assets.snapshot``), deciding what is run. Nothing here renames, moves or writes anything.

Layout: ``DROP/UNIT/DELIVERY/extract.toml`` beside the files it names. A delivery is complete when ``extract.toml`` can
be read and every file it names is there; it is at rest when two looks found the same names, sizes and times.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from assets.delivery import read_extract_file
from pipelines.settings import Settings
from schemas.errors import WrongUse

QUIET_SECONDS = 120
"""A delivery nobody wrote to for so long is at rest, where nobody looked before."""
EXTRACT_TOML = "extract.toml"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One complete extract. folder: None for a database, which is asked anew each time. written: newest time, epoch.

    print: digest of unit, folder, and names, sizes and times of files; no content.
    """

    unit: str
    folder: Path | None
    extracted_at: dt.datetime
    print: str
    written: float = 0.0

    @property
    def name(self) -> str:
        """Unit and delivery, as the folder says."""
        return f"{self.unit}/{self.folder.name}" if self.folder else f"{self.unit}, database"


@dataclass(frozen=True, slots=True)
class Incomplete:
    """A folder that is no delivery yet, and why."""

    name: str
    why: str


def examine(unit: str, folder: Path) -> Delivery | Incomplete:
    """Whether a folder holds a complete delivery of a unit."""
    name = f"{unit}/{folder.name}"
    try:
        delivered = read_extract_file(folder)
        files = [folder / EXTRACT_TOML, *(folder / file.path for file in delivered.files.values())]
        if any(not path.resolve().is_relative_to(folder.resolve()) for path in files):
            return Incomplete(name, "extract.toml names a file outside the folder")
        stats = [path.stat() for path in files]
    except WrongUse as wrong:
        return Incomplete(name, wrong.what.rpartition(": ")[2])
    except OSError:
        return Incomplete(name, "a file that extract.toml names is not there")
    if delivered.reporting_unit != unit:
        return Incomplete(name, "extract.toml is of another unit")
    seen = [(path.name, stat.st_size, stat.st_mtime_ns) for path, stat in zip(files, stats, strict=True)]
    fingerprint = hashlib.sha256(repr((name, seen)).encode()).hexdigest()
    return Delivery(unit, folder, delivered.extracted_at, fingerprint, max(stat.st_mtime for stat in stats))


def dropped(settings: Settings, units: Sequence[str] = ()) -> Iterator[Delivery | Incomplete]:
    """Every folder of the drop folder that belongs to a unit of ``npr.toml``. units: empty = all."""
    drop = settings.config.drop.folder
    for unit in units or settings.config.units:
        place = drop / unit if drop else None
        if place and place.is_dir():
            for folder in sorted(place.iterdir()):
                if folder.is_dir() and not folder.name.startswith("."):
                    yield examine(unit, folder)


def newest(settings: Settings, unit: str, now: float | None = None) -> Delivery | None:
    """The extract that a run of the unit would take: the newest at rest in the drop folder, else as npr.toml says.

    Newest by ``extracted_at``. now: epoch seconds, by default the clock's.
    """
    moment = time.time() if now is None else now
    found = [one for one in dropped(settings, [unit]) if isinstance(one, Delivery)]
    ready = [one for one in found if one.written <= moment - QUIET_SECONDS]
    if ready:
        return max(ready, key=lambda one: (one.extracted_at, one.print))
    given = settings.config.units[unit]
    if given.extract:
        one = examine(unit, given.extract)
        return one if isinstance(one, Delivery) else None
    if given.database:
        today = dt.datetime.fromtimestamp(moment).replace(microsecond=0)  # noqa: DTZ006 - the register's times have no zone
        return Delivery(unit, None, today, f"database {given.database}")
    return None


def look(
    found: Sequence[Delivery | Incomplete], before: Mapping[str, str]
) -> tuple[list[Delivery], dict[str, str], list[str]]:
    """What a sensor makes of one look. before: what it noted at the last one, delivery -> print.

    Returns what is complete and at rest, what to note now, and why the others wait.
    """
    ready, note, waiting = [], {}, []
    for one in found:
        if isinstance(one, Incomplete):
            waiting.append(f"{one.name}: {one.why}")
            continue
        note[one.name] = one.print
        if before.get(one.name) == one.print:
            ready.append(one)
        else:
            waiting.append(f"{one.name}: complete; it is looked at once more before it is taken")
    return ready, note, waiting
