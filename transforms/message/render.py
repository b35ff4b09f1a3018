"""Class tables of whole patients, rendered as XML by the layout of a message.

Belongs here: order of elements and attributes, the text of typed values, and the joining of all texts into one
buffer, vectorised over the rows of each class. Does not belong here: any class or attribute by name, the rules of the
register, numbers of children (the XSD check speaks of those), files.

A class table is named by the id of its node and sorted in document order. It has ``_id`` (ascending without gaps),
``_parent`` (the ``_id`` of the parent's row; not on the topmost node) and one column for each attribute that has a
value. Other columns are ignored. No table, or an empty one, means that there are no such elements.

How: every row becomes one fragment of text (opening tag, or all of the element), and where needed a second one (closing
tag). How many fragments stand below each row is counted bottom-up, which gives each fragment its place top-down; one
gather by place and one concatenation make the document.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cache
from typing import TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.errors import DataRefused, WrongUse
from schemas.layout import Attribute, Layout, Node
from transforms.message import escape

Tables: TypeAlias = Mapping[str, pl.DataFrame]
Numbers: TypeAlias = NDArray[np.int64]
Part: TypeAlias = "str | pl.Series"  # a constant, or one text for each row

# Texts of one run of patients: few enough to stay near the processor, many enough to outweigh the calls.
_SPAN_BYTES = 16_000_000
_IDS_SHOWN = 5
_PER_SECOND = {"ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_SECONDS_PER_DAY = 86_400
_BEYOND_64_BITS = 2**63


@dataclass(frozen=True, eq=False, slots=True)
class Fragments:
    """XML of patients, back to back.

    ``data``: UTF-8. ``ends``: for each patient, in order, the number of bytes up to and including its last one, so that
    patient ``i`` is ``data[ends[i - 1]:ends[i]]``, and patient 0 starts at 0.
    """

    data: memoryview
    ends: Numbers


def render_patients(layout: Layout, tables: Tables) -> Fragments:
    """The XML of each row of the layout's patient node with all that is below it, in table order.

    No namespace is declared in it (that is on the root of the message) and no white space stands between elements.
    Raises DataRefused for null in a required attribute, for a row without its parent and for a character that XML
    cannot carry; WrongUse for tables that are not what the module docstring says.
    """
    _only_known(layout, tables)
    return _render(_below(layout, layout.patient), tables)


def render_shell(layout: Layout, tables: Tables) -> tuple[bytes, bytes]:
    """What stands before and after the patients in a message: opening and closing part, UTF-8, no XML declaration.

    Tables of the patient node and below are ignored. The root and every other node above the patient node must
    have exactly one row, or WrongUse is raised; otherwise as ``render_patients``.
    """
    _only_known(layout, tables)
    inside = {node.id for node in _below(layout, layout.patient)}
    patient = layout.node(layout.patient)
    # NUL cannot stand in XML, so nothing else in the shell looks like this element.
    slot = replace(patient, name="\0", attributes=())
    nodes = [slot if node is patient else node for node in layout.nodes if node is patient or node.id not in inside]
    holder = _one_row_each(layout, tables)
    filled = {name: frame for name, frame in tables.items() if name not in inside}
    filled[patient.id] = pl.DataFrame({"_id": [0], "_parent": [holder]})
    declared = f' xmlns="{escape.escape_text(layout.namespace)}"'
    before, _, after = bytes(_render(nodes, filled, declared).data).partition(b"<\0/>")
    return before, after


def _only_known(layout: Layout, tables: Tables) -> None:
    filled = {name for name, frame in tables.items() if not frame.is_empty()}
    unknown = sorted(filled - {node.id for node in layout.nodes})
    if unknown:
        what = f"{', '.join(unknown)}: no such class in {layout.module} {layout.version}, so its rows would be lost."
        raise WrongUse(what, fix="leave the table out, or take the version that has the class")


def _below(layout: Layout, top: str) -> list[Node]:
    """The node and all below it, in the order of the layout."""
    found = {top}
    for node in layout.nodes:
        if node.parent in found:
            found.add(node.id)
    return [node for node in layout.nodes if node.id in found]


def _one_row_each(layout: Layout, tables: Tables) -> int:
    """Checks the nodes above the patient node; the ``_id`` of the lowest."""
    lowest, above = -1, layout.node(layout.patient).parent
    nearest = above
    while above is not None:
        rows = tables[above].height if above in tables else 0
        if rows != 1:
            raise WrongUse(f"{above}: exactly one row is needed around the patients, found {rows}.", where=above)
        if above == nearest:
            lowest = int(tables[above]["_id"].item())
        above = layout.node(above).parent
    return lowest


# --- the tree of rows


@dataclass(slots=True)
class _Rows:
    """One class table on its way to text."""

    node: Node
    height: int
    parts: list[Part]  # the row's own fragment
    closed: bool  # the element ends within its own fragment
    children: list[_Children] = field(default_factory=list)

    @property
    def closing(self) -> str:
        return f"</{self.node.name}>"

    def width(self) -> int:
        """The number of bytes of all rows' own elements, without their children."""
        constant = sum(len(part.encode()) for part in self.parts if isinstance(part, str))
        varied = sum(int(part.str.len_bytes().sum()) for part in self.parts if not isinstance(part, str))
        return varied + self.height * (constant + (0 if self.closed else len(self.closing.encode())))


@dataclass(slots=True)
class _Children:
    """The rows of one class, seen from the rows of their parent class."""

    rows: _Rows
    parent: Numbers  # for each child: index of its parent's row
    first: Numbers  # for each parent: index of its first child
    count: Numbers  # for each parent: how many children


def _render(nodes: Sequence[Node], tables: Tables, declared: str = "") -> Fragments:
    """The first node's elements, one after the other; ``declared`` is written into their opening tags."""
    tree = _read(nodes, tables, declared)
    if not tree:
        return Fragments(memoryview(b""), np.zeros(0, dtype=np.int64))
    width = sum(rows.width() for rows in tree.values())
    sizes: dict[str, Numbers] = {}
    for name, rows in reversed(tree.items()):
        sizes[name] = _size(rows, sizes)
    return _join(tree, sizes, width)


def _read(nodes: Sequence[Node], tables: Tables, declared: str) -> dict[str, _Rows]:
    """Every class that has rows, by node id, parents before children, linked to each other."""
    tree: dict[str, _Rows] = {}
    ids: dict[str, Numbers] = {}
    with_children = {node.parent for node in nodes}
    for node in nodes:
        frame = tables.get(node.id, pl.DataFrame())
        if frame.is_empty():
            continue
        ids[node.id] = _ids(node, frame)
        top = node is nodes[0]
        leaf = node.id not in with_children
        start = f"<{node.name}{declared if top else ''}"
        parts = [start, *_attributes(node, frame), "/>" if leaf else ">"]
        rows = tree[node.id] = _Rows(node, frame.height, parts, closed=leaf)
        if node.parent is not None and not top:
            parent = _parents(node, frame, ids)
            tree[node.parent].children.append(_children(rows, parent, tree[node.parent].height))
    return tree


def _ids(node: Node, frame: pl.DataFrame) -> Numbers:
    ids = _numbers(node, frame, "_id")
    if (np.diff(ids) != 1).any():
        raise WrongUse(f"{node.id}._id: not ascending without gaps.", where=f"class table {node.id}")
    return ids


def _parents(node: Node, frame: pl.DataFrame, ids: Mapping[str, Numbers]) -> Numbers:
    """For each row the index of its parent's row."""
    parent = _numbers(node, frame, "_parent")
    above = ids.get(node.parent or "", np.zeros(0, dtype=np.int64))
    low, high = (above[0], above[-1]) if len(above) else (1, 0)
    orphans = (parent < low) | (parent > high)
    if orphans.any():
        which = frame["_id"].filter(pl.Series(orphans))
        raise _refused(
            f"{node.id}._parent", which, f"no such row in {node.parent}", "bring the parents in the same batch"
        )
    if (np.diff(parent) < 0).any():
        raise WrongUse(f"{node.id}._parent: not sorted in document order.", where=f"class table {node.id}")
    return parent - low


def _numbers(node: Node, frame: pl.DataFrame, name: str) -> Numbers:
    if name not in frame.columns or not frame.schema[name].is_integer() or frame[name].has_nulls():
        raise WrongUse(
            f"{node.id}.{name}: not there, not whole numbers, or not filled.", where=f"class table {node.id}"
        )
    return frame[name].cast(pl.Int64).to_numpy()


def _children(rows: _Rows, parent: Numbers, parents: int) -> _Children:
    count = np.bincount(parent, minlength=parents)
    return _Children(rows, parent, np.cumsum(count) - count, count)


def _size(rows: _Rows, sizes: Mapping[str, Numbers]) -> Numbers:
    """For each row: the number of fragments of its element with all that is below it."""
    size = np.full(rows.height, 1 if rows.closed else 2)
    for children in rows.children:
        size += _extent(children, sizes)
    return size


def _extent(children: _Children, sizes: Mapping[str, Numbers]) -> Numbers:
    """For each parent: the number of fragments of these children with all that is below them."""
    if children.rows.closed:
        return children.count
    before = _running(sizes[children.rows.node.id])
    extent: Numbers = before[children.first + children.count] - before[children.first]
    return extent


def _running(numbers: Numbers) -> Numbers:
    """Sum of all numbers before each index; one longer than the input."""
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(numbers)])


# --- from the tree to bytes


def _join(tree: Mapping[str, _Rows], sizes: Mapping[str, Numbers], width: int) -> Fragments:
    """All fragments (``width`` bytes) in order, by runs of whole patients, so that few texts exist at once."""
    top = next(iter(tree))
    ends = np.cumsum(sizes[top])
    places = _all_places(tree, sizes, ends - sizes[top])
    data = np.empty(width, dtype=np.uint8)
    byte_ends = np.empty(len(ends), dtype=np.int64)
    filled = done = 0
    for span in _spans(tree, ends, width):
        last = ends[span[top]]
        texts = _ordered(tree, sizes, places, span, slice(done, last[-1]))
        lengths = texts.str.len_bytes().cast(pl.Int64).cum_sum().to_numpy()
        byte_ends[span[top]] = filled + lengths[last - done - 1]
        # A list of bytes is stored as one buffer with offsets, so this gives all bytes without a pass in Python.
        piece = texts.cast(pl.Binary).cast(pl.List(pl.UInt8)).explode().to_numpy()
        data[filled : filled + len(piece)] = piece
        filled, done = filled + len(piece), last[-1]
    return Fragments(data.data, byte_ends)


def _all_places(tree: Mapping[str, _Rows], sizes: Mapping[str, Numbers], top: Numbers) -> dict[str, Numbers]:
    """For each row of each class: the index of its first fragment in the document."""
    places = {next(iter(tree)): top}
    for name, rows in tree.items():
        places |= _places(rows, places[name], sizes)
    return places


def _places(rows: _Rows, place: Numbers, sizes: Mapping[str, Numbers]) -> dict[str, Numbers]:
    """For each class below the rows: the index of each child's first fragment in the document."""
    places: dict[str, Numbers] = {}
    free = place + 1
    for children in rows.children:
        name = children.rows.node.id
        if children.rows.closed:
            places[name] = (free - children.first)[children.parent] + np.arange(children.rows.height)
        else:
            before = _running(sizes[name])
            places[name] = (free - before[children.first])[children.parent] + before[:-1]
        free = free + _extent(children, sizes)
    return places


def _spans(tree: Mapping[str, _Rows], ends: Numbers, size: int) -> Iterator[dict[str, slice]]:
    """The rows of each class for one run of whole patients after the other, each of some ``_SPAN_BYTES``."""
    wanted = 1 + size // _SPAN_BYTES
    cuts = np.searchsorted(ends, np.arange(1, wanted) * (ends[-1] // wanted))
    bounds = {next(iter(tree)): np.unique(np.concatenate([[0], cuts, [len(ends)]]))}
    for name, rows in tree.items():
        for children in rows.children:
            bounds[children.rows.node.id] = np.append(children.first, children.rows.height)[bounds[name]]
    for run in range(len(next(iter(bounds.values()))) - 1):
        yield {name: slice(bound[run], bound[run + 1]) for name, bound in bounds.items()}


def _ordered(
    tree: Mapping[str, _Rows],
    sizes: Mapping[str, Numbers],
    places: Mapping[str, Numbers],
    span: Mapping[str, slice],
    fragments: slice,
) -> pl.Series:
    """The texts of a run of fragments; ``span``: the rows they come from."""
    order = np.empty(fragments.stop - fragments.start, dtype=np.uint32)
    texts: list[pl.Series] = []
    number = 0
    for name, rows in tree.items():
        part = span[name]
        place = places[name][part] - fragments.start
        own = _own_texts(rows, part)
        order[place] = np.arange(number, number + len(own))
        texts.append(own)
        number += len(own)
        if not rows.closed:
            order[place + sizes[name][part] - 1] = number
            texts.append(pl.Series([rows.closing]))
            number += 1
    return pl.concat(texts, rechunk=True).gather(pl.Series(order))


def _own_texts(rows: _Rows, part: slice) -> pl.Series:
    """The first fragments of the rows, in table order."""
    parts = [piece if isinstance(piece, str) else piece[part] for piece in rows.parts]
    if all(isinstance(piece, str) for piece in parts):
        return pl.repeat("".join(map(str, parts)), int(part.stop - part.start), dtype=pl.String, eager=True)
    return pl.select(_template(parts)).to_series()


def _template(parts: Sequence[Part]) -> pl.Expr:
    """The parts of each row one after the other; null where one of them is null."""
    columns = [part for part in parts if not isinstance(part, str)]
    return pl.format("".join(_literal(part) if isinstance(part, str) else "{}" for part in parts), *columns)


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


# --- attributes and their values


def _attributes(node: Node, frame: pl.DataFrame) -> list[Part]:
    """The attributes of each row, in the order of the layout."""
    parts: list[Part] = []
    for attribute in node.attributes:
        if attribute.use != "prohibited":
            parts += _attribute(f"{node.id}@{attribute.name}", attribute, frame)
    return parts


def _attribute(place: str, attribute: Attribute, frame: pl.DataFrame) -> list[Part]:
    required = attribute.use == "required"
    if attribute.name not in frame.columns:
        if not required:
            return []
        if attribute.fixed is None:
            raise _missing(place, frame["_id"])
        return [f' {attribute.name}="{escape.escape_text(attribute.fixed)}"']
    column = frame[attribute.name]
    nulls = column.null_count()
    if nulls and required:
        raise _missing(place, frame["_id"].filter(column.is_null()))
    if nulls == len(column):
        return []
    parts = [f' {attribute.name}="', *_texts(place, column, frame["_id"]), '"']
    if not nulls:
        return parts
    return [pl.select(pl.when(column.is_not_null()).then(_template(parts)).otherwise(pl.lit(""))).to_series()]


def _texts(place: str, column: pl.Series, ids: pl.Series) -> list[Part]:
    """The values as text; null stays null."""
    kind = column.dtype
    if isinstance(kind, pl.String):
        return [_fit(place, column, ids)]
    if kind.is_integer():
        return [_looked_up(column, pl.String)]
    if isinstance(kind, pl.Date):
        return [_looked_up(column.to_physical(), pl.Date)]
    if isinstance(kind, pl.Datetime) and kind.time_zone is None:
        return _moments(column.to_physical(), _PER_SECOND[kind.time_unit])
    if kind.is_float():
        return [_plain(place, column, ids)]
    if kind.is_decimal():
        return [column.cast(pl.String)]
    raise WrongUse(f"{place}: no text is defined for values of type {kind}.", where=place)


def _fit(place: str, column: pl.Series, ids: pl.Series) -> pl.Series:
    if not escape.suspicious(column):
        return column
    unfit = escape.forbidden(column)
    if unfit.any():
        fix = "remove these control characters or noncharacters in the source"
        raise _refused(place, ids.filter(unfit), "a character that XML 1.0 cannot carry", fix)
    return escape.escape(column)


def _looked_up(numbers: pl.Series, meaning: type[pl.DataType]) -> pl.Series:
    """The text of whole numbers, or of the days they count from 1970-01-01 on.

    Each number of a dense range is written once: looking it up costs a tenth of writing it again.
    """
    low, high = int(numbers.min()), int(numbers.max())  # type: ignore[arg-type]
    if high - low >= len(numbers) or not -_BEYOND_64_BITS < low <= high < _BEYOND_64_BITS:
        return numbers.cast(meaning).cast(pl.String)
    texts = pl.int_range(low, high + 1, dtype=pl.Int64, eager=True).cast(numbers.dtype).cast(meaning).cast(pl.String)
    return texts.gather(numbers.cast(pl.Int64) - low)


def _moments(ticks: pl.Series, per_second: int) -> list[Part]:
    """Local date and time of ticks since 1970-01-01, whole seconds, no zone."""
    seconds = ticks // per_second
    days = seconds // _SECONDS_PER_DAY
    return [_looked_up(days.cast(pl.Int32), pl.Date), "T", _clock().gather(seconds - days * _SECONDS_PER_DAY)]


@cache
def _clock() -> pl.Series:
    """The text of each second of a day."""
    nanoseconds = pl.int_range(_SECONDS_PER_DAY, eager=True) * _PER_SECOND["ns"]
    return nanoseconds.cast(pl.Time).dt.to_string("%H:%M:%S")


def _plain(place: str, column: pl.Series, ids: pl.Series) -> pl.Series:
    """Floats without exponent, in the fewest digits that give the same float."""
    unfit = ~column.is_finite().fill_null(value=True)
    if unfit.any():
        raise _refused(place, ids.filter(unfit), "infinite, or not a number", "give a finite number or none")
    texts = column.cast(pl.String)
    powers = texts.filter(texts.str.contains("e", literal=True)).unique()
    return texts.replace(powers, pl.Series([format(Decimal(text), "f") for text in powers], dtype=pl.String))


# --- refusals


def _missing(place: str, ids: pl.Series) -> DataRefused:
    return _refused(
        place, ids, "a required attribute without value", "fill the value in the source, or leave the row out"
    )


def _refused(place: str, ids: pl.Series, rule: str, fix: str) -> DataRefused:
    """``ids``: of the rows at fault; the first of them are named, their values never."""
    shown = ", ".join(str(number) for number in ids.head(_IDS_SHOWN))
    more = f" and {len(ids) - _IDS_SHOWN} more" if len(ids) > _IDS_SHOWN else ""
    what = f"{place}: {rule}, in {len(ids)} row{'s' if len(ids) > 1 else ''}."
    return DataRefused(what, where=f"class table, _id {shown}{more}", rule=rule, fix=fix)
