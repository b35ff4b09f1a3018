"""Validation of message files, whoever made them.

Belongs here: files and folders, processes, the second reading of odd files, the key of the pseudonyms. Does not belong
here: unpacking (``transforms.validation.opening``), cutting and judging (``transforms.validation.chunks``,
``.check``), words (``transforms.validation.report``).

Memory stays the same at any size of a file: chunks of 256 KiB go to a few processes, and the hashes of keys that are
unique over the whole go to a file (``pipelines.validation.key_book``). A file that cannot be cut is read a second time,
as one stream.
"""

from __future__ import annotations

import os
import pickle
import re
import secrets
import signal
import zipfile
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from functools import cache, lru_cache, partial
from itertools import islice
from multiprocessing import get_context, parent_process
from multiprocessing.context import BaseContext
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Self, TypeVar

from pipelines.home import pseudonym_key
from pipelines.validation.key_book import KeyBook
from schemas.controls import controls_for
from schemas.errors import DataRefused, NprError, WrongUse
from schemas.layout import Layout
from schemas.xsd import BEYOND, compile_schema, compile_with_head, validate_stream, walk, well_formed
from transforms.pseudonyms import pseudonym
from transforms.validation import opening
from transforms.validation.check import (
    TWICE,
    Findings,
    Group,
    Judge,
    Judged,
    Keys,
    Place,
    Spanning,
    Wanted,
    group_of,
    spanning,
    twice,
)
from transforms.validation.chunks import CHUNK, Chunk, Cutter, Whole
from transforms.validation.report import FileReport
from transforms.validation.stream import StreamJudge, rules_of, without

SUFFIXES: Final = (".xml", ".zip", ".gz")
# A message of a few chunks is judged before other processes would have started.
ALONE: Final = 16
# Faults of a file that cannot be cut, where each is kept until it is counted.
SMALL: Final = 4_000_000
MOST_OF_WHOLE: Final = 100_000
_NAMESPACE: Final = re.compile(r"http://www\.npr\.no/xmlstds/(\d{1,3}(?:_\d{1,3})+)_([a-z]{1,8})")

if TYPE_CHECKING:
    from schemas.registry import Held

T = TypeVar("T")
Reopen = Callable[[], AbstractContextManager[Iterator[bytes]]]


@dataclass(frozen=True, slots=True)
class Options:
    """How to validate. home: NPR_HOME, for installed schemas and the key of pseudonyms. most: places listed a group.

    chunk: bytes judged at once. alone: so many chunks are judged before other processes are started.
    """

    home: Path
    show_keys: bool = False
    most: int = 20
    controls: bool = True
    chunk: int = CHUNK
    alone: int = ALONE
    workers: int = field(default_factory=lambda: min(2, os.cpu_count() or 1))
    limits: opening.Limits = field(default_factory=opening.Limits)


@dataclass(frozen=True, slots=True)
class Source:
    """One document. open: gives its bytes unpacked, as often as asked."""

    name: str
    packing: str
    open: Reopen


def validate(paths: Iterable[Path], options: Options) -> Iterator[FileReport]:
    """A report for each message in files and folders. WrongUse for a path that is not there or holds nothing."""
    secret = _secret(options.home)
    with Crew(options.workers) as crew:
        for path in files(paths):
            try:
                for source in sources(path, options.limits):
                    yield validate_source(source, options, secret, crew, large=path.stat().st_size > SMALL)
            except DataRefused as refused:
                told = {"what": refused.what, "where": refused.where, "rule": refused.rule, "fix": refused.fix}
                yield FileReport(path.name, refused=told)


def files(paths: Iterable[Path]) -> Iterator[Path]:
    """Files as named, and those of folders with a name we know, in order. Links within folders are not followed."""
    for path in paths:
        if path.is_file():
            yield path
        elif path.is_dir():
            found = [one for one in sorted(path.rglob("*")) if one.suffix.lower() in SUFFIXES]
            found = [one for one in found if one.is_file() and not one.is_symlink()]
            if not found:
                raise WrongUse(f"{path} holds no message", fix=f"name files, or a folder with {', '.join(SUFFIXES)}")
            yield from found
        else:
            raise WrongUse(f"{path} is not there", fix="name files or folders that exist")


def sources(path: Path, limits: opening.Limits) -> Iterator[Source]:
    """The documents of a file: one, or each in a zip. DataRefused for a zip that is not taken."""
    with _reading(path) as file:
        form = opening.packing(file.read(4))
    if form != "zip":
        yield Source(path.name, form, partial(_opened, path, form, limits))
        return
    try:
        with zipfile.ZipFile(path) as archive:
            names = [(number, name) for number, (name, _, _) in enumerate(opening.members(archive, path.name, limits))]
    except zipfile.BadZipFile:
        raise DataRefused(f"{path.name} is damaged as zip", where=path.name, fix="get the file anew") from None
    for number, name in names:
        yield Source(f"{path.name}: {name}", form, partial(_opened_member, path, number, limits))


def _reading(path: Path) -> AbstractContextManager[BinaryIO]:
    try:
        return path.open("rb")
    except OSError as error:
        raise WrongUse(f"{path} cannot be read", fix=str(error.strerror)) from None


@contextmanager
def _opened(path: Path, form: str, limits: opening.Limits) -> Iterator[Iterator[bytes]]:
    with _reading(path) as file:
        raw = opening.blocks(file)
        yield opening.gunzip(raw, path.name, limits) if form == "gzip" else raw


@contextmanager
def _opened_member(path: Path, number: int, limits: opening.Limits) -> Iterator[Iterator[bytes]]:
    with zipfile.ZipFile(path) as archive:
        name, opened, packed = opening.members(archive, path.name, limits)[number]
        with opened() as file:
            yield opening.unzip(file, packed, f"{path.name}: {name}", limits)


def _secret(home: Path) -> bytes:
    """The key of pseudonyms: from NPR_HOME, so that they stay the same; else one for this run."""
    path = home / pseudonym_key.FILE
    try:
        return path.read_bytes()[: pseudonym_key.MOST] if path.is_file() else secrets.token_bytes(32)
    except OSError as error:
        raise WrongUse("the key of pseudonyms cannot be read", where=str(path), fix=str(error.strerror)) from None


# Schemas


def schema_for(namespace: str, home: Path) -> Layout:
    """The layout for the namespace of a Melding. DataRefused names the modules and versions there are."""
    from schemas.registry import Registry  # noqa: PLC0415 - pydantic and xmlschema take half a second and 40 MB

    registry = Registry(home / "schemas", home / "contract")
    told = _NAMESPACE.fullmatch(namespace)
    for held in registry.held():
        named = told is not None and (held.version, held.module) == (told[1].replace("_", "."), told[2])
        record = registry.installed(held.module, held.version) if held.official else None
        if named or (record is not None and record.namespace == namespace):
            layout = registry.layout(held.module, held.version)
            if layout.namespace == namespace:
                return layout
    what = f"{told[2]} {told[1].replace('_', '.')}" if told else "the namespace of the root element"
    raise DataRefused(
        f"there is no schema for {what}",
        rule="module and version follow from the namespace of Melding",
        fix=f"there are: {_listed(registry.held())}; others can be put in with `npr schema add PATH`",
    )


def _listed(held: Iterable[Held]) -> str:
    """Versions by module."""
    versions: defaultdict[str, list[str]] = defaultdict(list)
    for one in held:
        versions[one.module].append(one.version)
    return "; ".join(f"{module} {', '.join(found)}" for module, found in sorted(versions.items()))


@cache
def _schema_apart(namespace: str, home: Path) -> Layout:
    """The same, found by a process that then ends, and takes the memory of the schema library with it."""
    with ProcessPoolExecutor(1, mp_context=_way_to_start(), initializer=_follow) as process:
        return process.submit(schema_for, namespace, home).result()


# One document


def validate_source(source: Source, options: Options, secret: bytes, crew: Crew, *, large: bool = False) -> FileReport:
    """The report of one document. large: leave schemas and chunks to other processes, whose memory goes with them."""
    report = FileReport(source.name, source.packing, findings=Findings(options.most))
    look_up = partial(_schema_apart if large else schema_for, home=options.home)
    try:
        with source.open() as raw:
            text = opening.as_utf8(raw, source.name)
            report.encoding = text.encoding
            cutter = Cutter(text.blocks, look_up, options.chunk)
            done = _in_pieces(cutter, report, replace(options, alone=0) if large else options, secret, crew)
        report.bytes = cutter.bytes
        if done is not Done.ALL:
            _as_a_whole(source, cutter, report, options, secret, begun=done is Done.SOME)
        if options.show_keys:
            _name_repeated(source, report.findings, secret)
    except NprError as refused:
        report.refused = {"what": refused.what, "where": refused.where, "rule": refused.rule, "fix": refused.fix}
    return report


class Done(Enum):
    """How much of a document was judged in pieces: all, up to some place, or nothing."""

    ALL = auto()
    SOME = auto()
    NOTHING = auto()


def _in_pieces(cutter: Cutter, report: FileReport, options: Options, secret: bytes, crew: Crew) -> Done:
    """Judge a document by chunks, into the report."""
    try:
        layout = cutter.start()
    except Whole:
        return Done.NOTHING
    _describe(report, layout, cutter)
    report.unchecked = unchecked(layout) if options.controls else ()
    across = spanning(layout)
    if across is None:
        return Done.NOTHING
    wanted = Wanted(layout, cutter.melding, across, secret, options.show_keys, options.most, options.controls)
    judge, ended = Judge(wanted), True
    with KeyBook() as book:
        spread = _Spread(across, book)
        for judged in _judged(_pieces(cutter), judge, options.alone, crew):
            if judged is None:
                ended = False
                break
            report.findings.merge(judged.findings)
            spread.add(judged.keys)
        return _frame(cutter, judge, spread, report, ended=ended)


def _frame(cutter: Cutter, judge: Judge, spread: _Spread, report: FileReport, *, ended: bool) -> Done:
    """Judge what stands around the chunks, if need be with an end made up; then tell of keys that occur twice."""
    if not cutter.begun:
        return Done.NOTHING
    frame = judge.frame(cutter.frame(), in_head=cutter.in_head) if ended else None
    whole = frame is not None
    if frame is None:
        frame = judge.frame(cutter.frame(ended=False), in_head=cutter.in_head)
    if frame is None:
        return Done.NOTHING
    report.findings.merge(frame.findings)
    spread.add_before(frame.keys)
    spread.tell(report.findings)
    return Done.ALL if whole else Done.SOME


def _describe(report: FileReport, layout: Layout, cutter: Cutter) -> None:
    report.module, report.version, report.namespace = layout.module, layout.version, layout.namespace
    report.official, report.in_head = layout.official, cutter.in_head


def unchecked(layout: Layout) -> tuple[str, ...]:
    """Coded attributes whose list we do not hold, with its number."""
    controls = controls_for(layout).values()
    return tuple(f"{one.cls}@{one.attribute} ({one.code_list})" for one in controls if one.code_list and not one.held)


def _as_a_whole(
    source: Source, cutter: Cutter, report: FileReport, options: Options, secret: bytes, *, begun: bool
) -> None:
    """Read an odd document a second time, as one stream: what is wrong with its form, or all its faults."""
    fault = _once_more(source, well_formed) if begun or cutter.layout is None else None
    if fault is not None:
        report.findings.add(group_of(fault), partial(Place, fault.line, ""))
        return
    if cutter.layout is None:
        raise DataRefused(f"{source.name} holds no Melding", where=source.name, rule="one NPR message in each file")
    layout = cutter.layout
    _describe(report, layout, cutter)
    rules = rules_of(layout)
    change = partial(without, rules)
    schema = compile_with_head(layout, change) if cutter.in_head else compile_schema(layout.xsd, change)
    wanted = Wanted(layout, cutter.melding, (), secret, options.show_keys, options.most, options.controls)
    with KeyBook() as book:
        judge = StreamJudge(wanted, rules, book)
        found = _once_more(source, partial(validate_stream, schema, limit=MOST_OF_WHOLE, watcher=judge))
        judge.tell()
    report.findings = judge.findings
    for one in found:
        # The judge has heard of faults of the schema as they came.
        if one.rule.startswith("XML_"):
            report.findings.add(group_of(one), partial(Place, one.line, ""))
    if len(found) >= MOST_OF_WHOLE:
        text = f"reading ended here, at {MOST_OF_WHOLE} faults"
        report.findings.add(Group("document", BEYOND, None, None, text), partial(Place, found[-1].line, ""))


def _once_more(source: Source, read: Callable[[Iterator[bytes]], T]) -> T:
    with source.open() as raw:
        return read(opening.as_utf8(raw, source.name).blocks)


def _name_repeated(source: Source, findings: Findings, secret: bytes) -> None:
    """Find the keys that are known by their hash alone, and put them in its place."""
    listed = [(group, place) for group, places in findings.places.items() for place in places if group.rule == TWICE]
    hidden = {place.record: (group.cls, group.attribute) for group, place in listed if " ~" in place.record}
    found: dict[str, str] = {}

    def visit(path: tuple[str, ...], attributes: dict[str, str]) -> bool:
        cls = path[-1].rpartition("}")[2]
        for name in {attribute for known, attribute in hidden.values() if known == cls and attribute in attributes}:
            value = attributes[name or ""]
            record = f"{name} ~{pseudonym([value], secret).hex()}"
            if record in hidden:
                found[record] = f"{name} {value}"
        return len(found) == len(hidden)

    if hidden:
        _once_more(source, lambda blocks: walk(blocks, visit))
        for group, places in findings.places.items():
            findings.places[group] = [place._replace(record=found.get(place.record, place.record)) for place in places]


# Chunks and processes


def _pieces(cutter: Cutter) -> Iterator[Chunk | None]:
    """The chunks, and None where the cutter gives up."""
    try:
        yield from cutter.chunks()
    except Whole:
        yield None


def _judged(chunks: Iterator[Chunk | None], judge: Judge, alone: int, crew: Crew) -> Iterator[Judged | None]:
    """What each chunk says, in order; None for one that cannot stand alone."""
    for chunk in islice(chunks, alone):
        yield judge.chunk(chunk) if chunk is not None else None
    yield from crew.judged(chunks, judge.wanted)


def _way_to_start() -> BaseContext:
    """How to start processes: as forks, which share what is loaded; anew where threads might hold a lock in a fork."""
    try:
        threads = len(list(Path("/proc/self/task").iterdir()))
    except OSError:
        threads = 0
    return get_context("fork" if threads == 1 else "spawn")


def _follow() -> None:
    """Leave Ctrl-C, which reaches every process of a terminal, to the first; end when that has ended in any way."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if (first := parent_process()) is not None:

        def wait() -> None:
            first.join()
            os._exit(1)

        Thread(target=wait, daemon=True).start()


class Crew:
    """Processes that judge chunks. They are started when first needed and kept for the files that follow."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._processes: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._processes is not None:
            self._processes.shutdown(cancel_futures=True)

    def _begun(self) -> ProcessPoolExecutor:
        if self._processes is None:
            way = _way_to_start()
            self._processes = ProcessPoolExecutor(self._workers, mp_context=way, initializer=_follow)
        return self._processes

    def judged(self, chunks: Iterator[Chunk | None], wanted: Wanted) -> Iterator[Judged | None]:
        """What each chunk says, in order."""
        packed = pickle.dumps(wanted)
        waiting: deque[Future[Judged | None]] = deque()
        for chunk in chunks:
            waiting.append(self._begun().submit(_work, packed, chunk))
            if len(waiting) > self._workers + 2:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@lru_cache(maxsize=1)
def _judge_of(packed: bytes) -> Judge:
    return Judge(pickle.loads(packed))  # noqa: S301 - from the process that started this one


def _work(packed: bytes, chunk: Chunk | None) -> Judged | None:
    return _judge_of(packed).chunk(chunk) if chunk is not None else None


# Keys that span chunks


class _Spread:
    """Keys that chunks bring, entered into the book by constraint and scope."""

    def __init__(self, across: Sequence[Spanning], book: KeyBook) -> None:
        self._across, self._book = across, book
        self._open = [0] * len(across)

    def add(self, keys: Iterable[Keys]) -> None:
        """Keys of the next chunk."""
        last = list(self._open)
        for one in keys:
            scope = self._open[one.constraint] + one.scope
            last[one.constraint] = max(last[one.constraint], scope)
            self._keep(one, scope)
        self._open = last

    def add_before(self, keys: Iterable[Keys]) -> None:
        """Keys of the frame; its last scope is the one in which the first chunk stands."""
        kept = list(keys)
        for number in range(len(self._across)):
            own = [one for one in kept if one.constraint == number]
            for one in own:
                self._keep(one, one.scope - len(own))

    def _keep(self, keys: Keys, scope: int) -> None:
        self._book.add(scope * len(self._across) + keys.constraint, keys.hashes, keys.lines)

    def tell(self, findings: Findings) -> None:
        """Each occurrence of a key but the first becomes a fault."""
        for place, line, told in self._book.twice():
            one = self._across[place % len(self._across)]
            findings.add(*twice(one.name, one.paths[0].split("/")[-1], one.fields, line, told))


# Inspection


def show(path: Path) -> dict[str, Any]:
    """What the message in a file says of itself. DataRefused for a zip with more than one file, and for no message."""
    from transforms.validation.summary import summary  # noqa: PLC0415 - the other command of this module

    if not path.is_file():
        raise WrongUse(f"{path} is not there", fix="name a file that exists")
    found = list(sources(path, opening.Limits()))
    if len(found) != 1:
        raise DataRefused(f"{path.name} holds {len(found)} files", fix="unpack it, and name one of them")
    size = 0

    def counted(blocks: Iterator[bytes]) -> Iterator[bytes]:
        nonlocal size
        for block in blocks:
            size += len(block)
            yield block

    with found[0].open() as raw:
        text = opening.as_utf8(counted(raw), found[0].name)
        told = summary(text.blocks, found[0].name)
    return {"name": found[0].name, "packing": found[0].packing, "encoding": text.encoding, "bytes": size, **told}
