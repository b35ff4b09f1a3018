"""Whole patients into parts, none larger than the limit when finished.

Belongs here: where one part ends and the next begins, and whether a split may be sent at all. Does not belong here: how
large a mail becomes (a function passed in, see ``transforms.shipping.packing``) and the bytes of the fragments.
"""

from __future__ import annotations

import zlib
from base64 import b64encode
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.config import SplitAgreement
from schemas.errors import DataRefused, WrongUse
from schemas.receivers import ContentForm
from transforms.shipping.envelope import content_open, content_size
from transforms.shipping.packing import compressor

Ends = NDArray[np.int64]
Fixed = int | Callable[[int], int]

STEP_BYTES: Final = 8_388_608
"""Most document bytes fed to the compressor at once: bounds memory, and what a roll-back costs."""
_SHARE: Final = 0.8
_HELD_BACK: Final = 524_288
"""More than zlib keeps to itself at level 6: 64 KiB of input not looked at, a block of 16 383 symbols of at most 48
bits, 64 KiB of output. If it were less, packing would stop at a part above the limit."""
_USUALLY_HELD: Final = 32_768
_WAYS_OUT: Final = "use gzip where the receiver accepts it, agree on a larger limit, or send over NHN-EDI-STOR"
_LARGE_WAYS_OUT: Final = f"{_WAYS_OUT} (a channel of kind sftp with only_large = true takes such a patient)"


@dataclass(frozen=True, slots=True)
class Part:
    """Patients ``first`` up to, not including, ``last_exclusive``, with the size of document and finished mail.

    large: one patient alone above the limits, who goes by the channel for such.
    """

    first: int
    last_exclusive: int
    document_bytes: int
    packed_bytes: int
    large: bool = False


@dataclass(frozen=True, slots=True)
class Bound:
    """One limit. what: the finished thing it is about, in a word. most: its bytes, inclusive.

    size_of: bytes of that thing for a document (of a mail with gzip: for a payload) of some length, never falling.
    """

    what: str
    size_of: Callable[[int], int]
    most: int

    @property
    def longest(self) -> int:
        """The largest length within the limit; -1 for none. Nothing is shorter than what it holds."""
        return bisect_right(range(max(self.most, 0) + 1), self.most, key=self.size_of) - 1


@dataclass(frozen=True, slots=True)
class Limits:
    """All that bounds a part.

    mail: of the finished mail. others: what else is made of the document and has a limit, such as a request. large:
    most bytes of the mail of one patient alone who is above these; 0: there is no channel for such.
    """

    mail: Bound
    others: tuple[Bound, ...] = ()
    large: int = 0


class PatientTooLarge(DataRefused):
    """One patient alone exceeds a limit. ``index`` is the patient's place, from 0; who it is, the caller knows."""

    def __init__(self, index: int, what: str, made: int, limit: int) -> None:
        super().__init__(
            f"one patient alone makes a {what} of {made} bytes, the limit is {limit}",
            where=f"patient at place {index}",
            rule="MSG-20",
            fix=_LARGE_WAYS_OUT,
        )
        self.index = index


def plan_parts(ends: Ends, fixed: Fixed, limits: Limits) -> list[Part]:
    """The fewest parts in the given order, each as full as whole patients allow.

    ends: where each patient's fragment ends, bytes, never falling. fixed: document bytes outside the fragments, a
    number or a function of the part's place from 0. No patients, no parts. Raises PatientTooLarge, or WrongUse when not
    even an empty message fits.
    """
    _check_order(ends)
    bounds = (limits.mail, *limits.others)
    allowed = min(bound.longest for bound in bounds)
    parts: list[Part] = []
    first = 0
    while first < len(ends):
        shell = _fixed_at(fixed, len(parts))
        start = _offset(ends, first)
        if shell > allowed:
            _insist_room([(bound, shell) for bound in bounds])
        last = int(np.searchsorted(ends, start + allowed - shell, side="right"))
        large = last == first
        last += large
        length = shell + int(ends[last - 1]) - start
        if large:
            _insist_large(first, [(bound, length) for bound in bounds], limits.large)
        parts.append(Part(first, last, length, limits.mail.size_of(length), large))
        first = last
    return parts


@dataclass(frozen=True, slots=True)
class Around:
    """What a part's document holds besides its patients.

    head, tail: bytes of the head message. prefix, suffix: bytes of the Melding. content: how the Melding is written.
    """

    prefix: bytes
    suffix: bytes
    head: bytes = b""
    tail: bytes = b""
    content: ContentForm = "inline"

    def document_bytes(self, patients: int) -> int:
        """Length of the document with so many bytes of patients."""
        melding = len(self.prefix) + patients + len(self.suffix)
        return len(self.head) + content_size(melding, self.content) + len(self.tail)


def plan_parts_gzip(
    chunks: Callable[[int, int], bytes],
    ends: Ends,
    around: Callable[[int], Around],
    limits: Limits,
) -> Iterator[tuple[Part, bytes]]:
    """The same for gzip: each part with its finished gzip payload, one part in memory at a time.

    chunks(a, b): the bytes of patients a up to b. around: the rest of the document, by place of the part. Every part
    is one gzip stream, made once; sizes are exact, since each trial ends a copy of the stream. The limit of the mail is
    one of payloads here, and the others are of documents before gzip.
    """
    _check_order(ends)
    room, longest = limits.mail.longest, min((bound.longest for bound in limits.others), default=None)
    first = number = 0
    while first < len(ends):
        dress = around(number)
        stream = _Stream.opened(dress)
        _insist_room(_lengths(limits, stream.size, dress.document_bytes(0)))
        until = len(ends) if longest is None else _until(ends, first, dress, longest)
        last, stream = _fill(range(first, until), ends, chunks, stream, room)
        large = last == first
        if large:
            last, stream = last + 1, stream.plus(chunks(first, first + 1))
        length = dress.document_bytes(_offset(ends, last) - _offset(ends, first))
        if large:
            _insist_large(first, _lengths(limits, stream.size, length), limits.large)
        part, payload = Part(first, last, length, limits.mail.size_of(stream.size), large), stream.payload()
        del stream  # its pieces are the payload once more
        yield part, payload
        first, number = last, number + 1


def _lengths(limits: Limits, payload: int, document: int) -> list[tuple[Bound, int]]:
    return [(limits.mail, payload), *((bound, document) for bound in limits.others)]


def _until(ends: Ends, first: int, dress: Around, longest: int) -> int:
    """The first patient, from ``first`` on, with whom the document would be longer."""
    patients = bisect_right(range(longest + 1), longest, key=dress.document_bytes) - 1
    return int(np.searchsorted(ends, _offset(ends, first) + patients, side="right"))


def split_policy(profile: str, parts: int, agreement: SplitAgreement | None, setting: bool) -> None:  # noqa: FBT001
    """Whether so many parts may be sent; returns in silence or raises DataRefused.

    NPR documents no split, and the data submitted last are the ones used, so a second part may erase the first
    (Helsedirektoratet, Hvordan fungerer rapportering til NPR, 2021-12-17). Rehearsal and validation need the setting
    only; production needs the written agreement as well.
    """
    if parts <= 1:
        return
    if not setting:
        raise _split_refused(f"{parts} parts are needed and splitting is off")
    if profile == "production" and not _is_complete(agreement):
        raise _split_refused(f"{parts} parts are needed and no agreement with NPR to split is recorded")


def _is_complete(agreement: SplitAgreement | None) -> bool:
    return agreement is not None and bool(agreement.who.strip()) and bool(agreement.reference.strip())


def _split_refused(what: str) -> DataRefused:
    return DataRefused(
        what,
        rule="the last submission counts: a second part may erase the first",
        fix=f"{_WAYS_OUT}; or get NPR's written agreement and record who, when and reference in the settings",
    )


def _insist_room(lengths: Sequence[tuple[Bound, int]]) -> None:
    """A message without patients fits."""
    for bound, length in lengths:
        if (made := bound.size_of(length)) > bound.most:
            raise WrongUse(
                f"a message without patients already makes a {bound.what} of {made} bytes, the limit is {bound.most}",
                where="size limit",
                fix="raise the limit",
            )


def _insist_large(index: int, lengths: Sequence[tuple[Bound, int]], large: int) -> None:
    """One patient, who is above a limit, is within that of the channel for such, where there is one."""
    mail, length = lengths[0]
    if (made := mail.size_of(length)) <= large:
        return
    if large:
        raise PatientTooLarge(index, "file", made, large)
    above = ((bound, size) for bound, length in lengths if (size := bound.size_of(length)) > bound.most)
    bound, made = next(above)
    raise PatientTooLarge(index, bound.what, made, bound.most)


def _check_order(ends: Ends) -> None:
    if len(ends) and (ends[0] < 0 or bool(np.any(ends[1:] < ends[:-1]))):
        raise ValueError("ends must be cumulative")


def _fixed_at(fixed: Fixed, part: int) -> int:
    return fixed if isinstance(fixed, int) else fixed(part)


def _offset(ends: Ends, patient: int) -> int:
    """Where the fragment of that patient begins."""
    return int(ends[patient - 1]) if patient else 0


@dataclass(frozen=True)
class _Stream:
    """A gzip stream that is never altered, so that a step that overflows is taken back by forgetting it."""

    codec: zlib._Compress
    pieces: tuple[bytes, ...]
    around: Around
    held: bytes  # up to two bytes that base64 keeps back until three are there
    taken: int  # bytes of the Melding so far, its suffix included
    given: int  # bytes of the pieces

    @classmethod
    def opened(cls, around: Around) -> _Stream:
        codec = compressor()
        begun = codec.compress(around.head)
        held = content_open(around.content)
        return cls(codec, (begun,), around, held, len(around.suffix), len(begun)).plus(around.prefix)

    def plus(self, data: bytes) -> _Stream:
        codec = self.codec.copy()
        text, held = _written(self.held + data, self.around.content)
        piece = codec.compress(text)
        taken, given = self.taken + len(data), self.given + len(piece)
        return _Stream(codec, (*self.pieces, piece), self.around, held, taken, given)

    @cached_property
    def ending(self) -> bytes:
        """What the rest of the document and the end of the stream would add here. Costs a copy of the codec."""
        end = self.codec.copy()
        return end.compress(self._rest) + end.flush()

    @property
    def _rest(self) -> bytes:
        return _rest(self.held + self.around.suffix, self.around.content) + self.around.tail

    @property
    def size(self) -> int:
        return self.given + len(self.ending)

    def fits(self, room: int) -> bool:
        """Far from the limit the end need not be tried: a deflater holds back less than ``_HELD_BACK``."""
        return self.given + _HELD_BACK + len(self._rest) <= room or self.size <= room

    @property
    def reached(self) -> int:
        """The size, exact where the end was tried; else reckoned."""
        return self.size if "ending" in self.__dict__ else self.given + _USUALLY_HELD

    def payload(self) -> bytes:
        return b"".join([*self.pieces, self.ending])


def _written(data: bytes, content: ContentForm) -> tuple[bytes, bytes]:
    """The text that stands for the data, and what is held back."""
    if content == "inline":
        return data, b""
    whole = len(data) // 3 * 3
    return b64encode(memoryview(data)[:whole]), data[whole:]


def _rest(data: bytes, content: ContentForm) -> bytes:
    return data if content == "inline" else b64encode(data)


def _fill(
    patients: range, ends: Ends, chunks: Callable[[int, int], bytes], stream: _Stream, room: int
) -> tuple[int, _Stream]:
    """Feed whole patients until the next one is known not to fit; returns the first one left out, and the stream."""
    last, most = patients.start, patients.stop
    over = most + 1  # the smallest end known not to fit, once there is one
    ratio = 1.0  # nothing is known of the data yet, so it is taken as incompressible
    while last < most and last + 1 < over:
        budget = min(_SHARE * (room - stream.reached) / ratio, STEP_BYTES)
        reach = int(np.searchsorted(ends, _offset(ends, last) + int(budget), side="right")) - last
        halfway = most - last if over > most else (over - last) // 2
        take = max(1, min(reach, halfway))
        trial = stream.plus(chunks(last, last + take))
        if not trial.fits(room):
            over = last + take
        else:
            last, stream = last + take, trial
            ratio = stream.reached / stream.taken
    return last, stream
