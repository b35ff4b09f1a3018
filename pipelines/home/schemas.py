"""Official schemas under NPR_HOME: taking them in, and the registry that finds them.

Belongs here: unpacking with limits, telling module and version, checking that files compile without the network, and
installing them by rename. Does not belong here: which schema counts (``schemas.registry``), printing.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from pipelines.home.registry import registry_of
from pipelines.home.store import DiskStore
from pipelines.settings import HOME
from schemas import layouts
from schemas.errors import DataRefused, NprError, WrongUse
from schemas.layout import Layout
from schemas.registry import RECORD, Installed
from schemas.xsd import XSD, compile_schema, compile_with_head, local_files, parse

MOST_ENTRIES: Final = 1_000
MOST_BYTES: Final = 500_000_000
MOST_RATIO: Final = 100
ANNOTATIONS: Final = "_Annotations.xsd"
_NAMESPACE: Final = re.compile(r"https?://www\.npr\.no/xmlstds/([0-9]+(?:_[0-9]+)+)_([a-z]{2,10})")
_UNPACKING: Final = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    NotImplementedError,
    EOFError,
    OSError,
    RuntimeError,  # a password is needed
)
_VERSION: Final = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4}){1,3}")
_MODULE: Final = re.compile(r"[a-z]{2,10}")


@dataclass(frozen=True, slots=True)
class Added:
    """What became of one module. state: added, replaced or unchanged."""

    record: Installed
    layout: Layout
    state: str


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A file that declares Melding, with module and version."""

    path: Path
    module: str
    version: str


def home_of(given: Path | None) -> Path:
    """NPR_HOME without npr.toml: given, else the environment, else ./var."""
    return (given or Path(os.environ.get("NPR_HOME") or HOME)).resolve()


def add(
    home: Path, path: Path, today: dt.date, *, version: str = "", module: str = "", replace: bool = False
) -> list[Added]:
    """Install every module schema of a folder or zip. All are checked before the first is installed.

    version, module: for a namespace that tells neither. replace: take the place of different files of the same
    version and module. DataRefused names file and reason; WrongUse for arguments.
    """
    store = DiskStore(home)
    with store.scratch() as room:
        given = room / "given"
        given.mkdir()
        _take(path, given)
        try:
            found = _candidates(given, version, module)
            layouts_of = [_checked(candidate) for candidate in found]
        except NprError as refused:
            raise _named(refused, given, path) from None
        with store.locked("schemas"):
            records = [_recorded(layout, path.name, today) for layout in layouts_of]
            states = [_state(home, record, replace=replace) for record in records]
            for layout, record, state in zip(layouts_of, records, states, strict=True):
                if state != "unchanged":
                    _install(store, layout.xsd.parent, record)
    registry = registry_of(home)
    return [Added(r, registry.layout(r.module, r.version), s) for r, s in zip(records, states, strict=True)]


# --- taking files in


def _take(path: Path, into: Path) -> None:
    if path.is_dir():
        _copy(path, into)
    elif path.is_file() and zipfile.is_zipfile(path):
        _unpack(path, into)
    else:
        raise WrongUse(f"{path}: neither a folder nor a zip file", fix="give the folder or zip of official files")


def _copy(folder: Path, into: Path) -> None:
    total = count = 0
    for place, _, names in os.walk(folder):
        for name in sorted(names):
            path = Path(place) / name
            count += 1
            if count > MOST_ENTRIES:
                raise _too_much(folder.name, f"more than {MOST_ENTRIES} files")
            if path.suffix.lower() != ".xsd":
                continue
            if path.is_symlink() or not path.is_file():
                raise _refused(name, "a link or no plain file", "give the files themselves")
            total += path.stat().st_size
            if total > MOST_BYTES:
                raise _too_much(folder.name, f"more than {MOST_BYTES:,} bytes")
            target = into / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def _unpack(path: Path, into: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in _guarded(archive.infolist(), path.name):
                target = into / entry.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry) as file, target.open("xb") as out:
                    data = file.read(entry.file_size + 1)
                    if len(data) != entry.file_size:
                        raise _refused(entry.filename, "not of the size it states", "get the zip anew")
                    out.write(data)
    except _UNPACKING as error:
        why = f"cannot be unpacked ({type(error).__name__})"
        raise _refused(path.name, why, "get the zip anew; without a password") from None


def _guarded(entries: list[zipfile.ZipInfo], name: str) -> Iterator[zipfile.ZipInfo]:
    """The schema files among the entries, after all entries were looked at."""
    if len(entries) > MOST_ENTRIES:
        raise _too_much(name, f"{len(entries)} entries, at most {MOST_ENTRIES}")
    if sum(entry.file_size for entry in entries) > MOST_BYTES:
        raise _too_much(name, f"unpacks to more than {MOST_BYTES:,} bytes")
    seen: set[str] = set()
    for entry in entries:
        place = PurePosixPath(entry.filename)
        if place.is_absolute() or ".." in place.parts or re.search(r"[\\:\0]", entry.filename):
            raise _refused(name, "an entry leads out of the folder", "get the zip from its publisher")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise _refused(name, f"{place.name} is a link", "give the files themselves")
        if entry.file_size > MOST_RATIO * max(entry.compress_size, 1):
            raise _too_much(name, f"{place.name} unpacks to more than {MOST_RATIO} times its size")
        if entry.filename.lower() in seen:
            raise _refused(name, f"{place.name} stands in it twice", "get the zip anew")
        seen.add(entry.filename.lower())
    return (entry for entry in entries if not entry.is_dir() and entry.filename.lower().endswith(".xsd"))


def _too_much(name: str, why: str) -> DataRefused:
    rule = f"at most {MOST_ENTRIES} files, {MOST_BYTES:,} bytes, {MOST_RATIO} times the packed size"
    return DataRefused(f"{name}: {why}", where=name, rule=rule, fix="give the schema files alone")


def _refused(name: str, why: str, fix: str) -> DataRefused:
    return DataRefused(f"{name}: {why}", where=name, rule="official schemas are plain files", fix=fix)


def _named(refused: NprError, given: Path, path: Path) -> DataRefused:
    """The refusal as one of the data, with the caller's name in place of our private room."""
    texts = [text.replace(f"{given}{os.sep}", "").replace(str(given), path.name) for text in _parts(refused)]
    return DataRefused(texts[0], where=texts[1], rule=texts[2], fix=f"{texts[3]}; nothing was installed".lstrip("; "))


def _parts(refused: NprError) -> tuple[str, str, str, str]:
    return refused.what, refused.where, refused.rule, refused.fix


# --- telling and checking


def _candidates(given: Path, version: str, module: str) -> list[_Candidate]:
    files = sorted(given.rglob("*.[xX][sS][dD]"))
    mains = [path for path in files if not path.name.endswith(ANNOTATIONS) and _declares_melding(path)]
    if not mains:
        raise DataRefused(
            f"none of {len(files)} schema files declares {layouts.ROOT}",
            rule="a module schema declares the root of its message",
            fix="give the folder with the module's own schema, such as NPR(kpp).xsd, and the NPR.xsd it loads",
        )
    if (version or module) and len(mains) > 1:
        raise WrongUse(
            f"{len(mains)} modules, but one version or module given",
            fix="leave out --version and --module, or give the folder of one module",
        )
    found = [_candidate(path, version, module) for path in mains]
    names = [(one.module, one.version) for one in found]
    if twice := sorted({f"{m} {v}" for m, v in names if names.count((m, v)) > 1}):
        raise DataRefused(f"{', '.join(twice)}: in several files", fix="give one folder for each")
    return found


def _declares_melding(path: Path) -> bool:
    root = parse(path.read_bytes(), path.name)
    return root.tag == f"{XSD}schema" and root.find(f"{XSD}element[@name='{layouts.ROOT}']") is not None


def _candidate(path: Path, version: str, module: str) -> _Candidate:
    root = parse(path.read_bytes(), path.name)
    if next(root.iter(layouts.FACT), None) is not None:
        raise DataRefused(
            f"{path.name}: carries this project's facts, so it is no official schema",
            where=path.name,
            rule="official files come from the register",
            fix="our own schemas belong in schemas/npr",
        )
    namespace = root.get("targetNamespace", "")
    told = _NAMESPACE.fullmatch(namespace)
    told_version, told_module = (told[1].replace("_", "."), told[2]) if told else ("", "")
    found = (
        _agreed(path, "version", told_version, version, _VERSION),
        _agreed(path, "module", told_module, module, _MODULE),
    )
    fixed = root.find(f"{XSD}element[@name='{layouts.ROOT}']//{XSD}attribute[@name='versjon'][@fixed]")
    if fixed is not None and fixed.get("fixed") != found[0]:
        raise DataRefused(
            f"{path.name}: Melding@versjon is fixed to another version than {found[0]}",
            where=f"{path.name}, line {fixed.sourceline}",
            rule="namespace and versjon name the same version",
            fix="get the files anew from the register",
        )
    return _Candidate(path, found[1], found[0])


def _agreed(path: Path, name: str, told: str, given: str, form: re.Pattern[str]) -> str:
    if given and told and given != told:
        raise DataRefused(f"{path.name}: its namespace says {name} {told}, not {given}", where=path.name)
    value = told or given
    if not form.fullmatch(value):
        raise DataRefused(
            f"{path.name}: its namespace tells no {name}",
            where=path.name,
            rule="http://www.npr.no/xmlstds/<version>_<module>",
            fix=f"give --{name}",
        )
    return value


def _checked(candidate: _Candidate) -> Layout:
    """The layout, when schema and layout compile from local files, alone and below the head message."""
    layout = layouts.read_layout(candidate.path, candidate.module, candidate.version, official=True)
    compile_schema(candidate.path)
    compile_with_head(layout)
    return layout


# --- installing


def _recorded(layout: Layout, source: str, today: dt.date) -> Installed:
    folder = layout.xsd.resolve().parent
    # What the catalogue gave is ours, and is not copied.
    files = {path.name: path for path in local_files(layout.xsd) if path.parent == folder}
    annotations = layout.xsd.with_name(layout.xsd.stem + ANNOTATIONS)
    if annotations.is_file():
        files[annotations.name] = annotations
    digests = {name: hashlib.sha256(files[name].read_bytes()).hexdigest() for name in sorted(files)}
    return Installed(
        module=layout.module,
        version=layout.version,
        namespace=layout.namespace,
        folder=hashlib.sha256(repr(digests).encode()).hexdigest()[:16],
        xsd=layout.xsd.name,
        files=digests,
        sha256=layout.sha256,
        added=today,
        source=source,
    )


def _state(home: Path, record: Installed, *, replace: bool) -> str:
    place = home / "schemas" / record.version / record.module / RECORD
    if not place.is_file():
        return "added"
    registry = registry_of(home)
    try:
        known = registry.installed(record.module, record.version)
        registry.layout(record.module, record.version)
    except WrongUse:
        known = None  # edited or damaged, so whatever is added differs from it
    if known is not None and known.files == record.files:
        return "unchanged"
    if not replace:
        raise DataRefused(
            f"{record.module} {record.version}: other official files are installed",
            where=str(place.parent),
            rule="one official schema for each version and module",
            fix="compare them, and add with --replace when the new ones are right; nothing was installed",
        )
    return "replaced"


def _install(store: DiskStore, source: Path, record: Installed) -> None:
    place = store.home / "schemas" / record.version / record.module
    with store.writing_folder(place / record.folder) as room:
        for name in record.files:
            shutil.copyfile(source / name, room / name)
    with store.writing(place / RECORD) as path:
        path.write_text(record.model_dump_json(indent=1), encoding="utf-8")
