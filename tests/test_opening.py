"""Packing and encodings: what comes out, and what is refused before it does harm."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib

import pytest

from schemas.errors import DataRefused
from transforms.validation import opening
from transforms.validation.opening import Limits, as_utf8, gunzip, members, unzip

SMALL = Limits(bytes=1_000_000, ratio=20, free=10_000, members=3)


def inflated(data: bytes, piece: int = 100_000, limits: Limits = Limits()) -> bytes:  # noqa: B008 - frozen
    return b"".join(gunzip([data[at : at + piece] for at in range(0, len(data), piece)], "a.gz", limits))


@pytest.mark.parametrize("size", [0, 1, opening.BLOCK - 1, opening.BLOCK, opening.BLOCK + 1, 3 * opening.BLOCK])
@pytest.mark.parametrize("piece", [1_000, 10**9])
def test_gzip_gives_back_what_was_packed(size: int, piece: int) -> None:
    data = (b"0123456789" * (size // 10 + 1))[:size]
    assert inflated(gzip.compress(data), piece) == data
    assert inflated(gzip.compress(data) + gzip.compress(b"x") + b"\0" * 512, piece) == data + b"x"


def test_gzip_that_is_cut_off_or_damaged_is_refused() -> None:
    whole = gzip.compress(bytes(range(256)) * 100)
    for cut in (1, 10, 11, len(whole) // 2, len(whole) - 1):
        with pytest.raises(DataRefused, match="damaged or cut off"):
            inflated(whole[:cut])
    spoiled = whole[:-6] + bytes([whole[-6] ^ 1]) + whole[-5:]
    with pytest.raises(DataRefused, match="damaged"):
        inflated(spoiled)
    with pytest.raises(DataRefused, match="damaged"):
        inflated(whole + b"rest")


def test_bombs_are_stopped_by_what_came_out() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    taken: list[int] = []
    with pytest.raises(DataRefused, match="suspiciously"):
        taken.extend(len(block) for block in gunzip([bomb], "a.gz", Limits()))
    assert sum(taken) <= Limits().free + opening.BLOCK
    packer = zlib.compressobj(0, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    stored = packer.compress(bytes(2_000_000)) + packer.flush()
    with pytest.raises(DataRefused, match="too much"):
        inflated(stored, limits=SMALL)


def archive(*files: tuple[str, bytes]) -> zipfile.ZipFile:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in files:
            made.writestr(name, data)
    return zipfile.ZipFile(held)


def test_zip_members_come_out_under_limits() -> None:
    with archive(("a.xml", b"<a/>"), ("deep/", b""), ("../../b.xml", b"\0" * 1_000_000)) as made:
        (one, opened, packed), (outside, zeros, small) = members(made, "z.zip", SMALL)
        assert (one, outside) == ("a.xml", "../../b.xml")
        with opened() as stream:
            assert b"".join(unzip(stream, packed, one, SMALL)) == b"<a/>"
        with zeros() as stream, pytest.raises(DataRefused, match="suspiciously"):
            list(unzip(stream, small, outside, SMALL))


def test_zip_with_too_many_or_encrypted_files_is_refused() -> None:
    with archive(*((f"{n}.xml", b"") for n in range(4))) as made, pytest.raises(DataRefused, match="holds 4 files"):
        members(made, "z.zip", SMALL)
    with archive(("a.xml", b"<a/>")) as made:
        made.infolist()[0].flag_bits |= 1
        with pytest.raises(DataRefused, match="encrypted"):
            members(made, "z.zip", SMALL)


def test_a_zip_with_a_wrong_checksum_is_refused() -> None:
    with archive(("a.xml", b"<a/>" * 100)) as made:
        made.infolist()[0].CRC ^= 1
        ((name, opened, packed),) = members(made, "z.zip", SMALL)
        with opened() as stream, pytest.raises(DataRefused, match="damaged"):
            list(unzip(stream, packed, name, SMALL))


def text(data: bytes, piece: int = 7) -> tuple[str, bytes]:
    made = as_utf8([data[at : at + piece] for at in range(0, len(data), piece)], "a.xml")
    return made.encoding, b"".join(made.blocks)


@pytest.mark.parametrize(
    ("encoding", "declared", "told"),
    [
        ("utf-8", None, "UTF-8"), ("utf-8", "UTF-8", "UTF-8"), ("utf-8-sig", "utf-8", "UTF-8"),
        ("utf-8-sig", None, "UTF-8"), ("iso-8859-1", "ISO-8859-1", "ISO8859-1"), ("cp1252", "windows-1252", "CP1252"),
        ("utf-16", "UTF-16", "UTF-16-LE"),
        ("utf-16-be", "utf-16", "UTF-16-BE"), ("utf-16-le", "UTF-16LE", "UTF-16-LE"), ("utf-16", None, "UTF-16-LE"),
    ],
)  # fmt: skip
def test_encodings_become_utf8(encoding: str, declared: str | None, told: str) -> None:
    said = f' encoding="{declared}"' if declared else ""
    document = f'<?xml version="1.0"{said} standalone="yes"?>\n<a b="æøå€"/>'.replace(
        "€", "" if "8859" in encoding else "€"
    )
    expected = document.replace(said, "").encode()
    assert text(document.encode(encoding)) == (told, expected)


@pytest.mark.parametrize(
    "data",
    [
        b'<?xml version="1.0" encoding="UTF-16"?><a/>',
        '<?xml version="1.0" encoding="UTF-8"?><a/>'.encode("utf-16"),
        '<?xml version="1.0" encoding="iso-8859-1"?><a/>'.encode("utf-8-sig"),
        b'<?xml version="1.0" encoding="utf-7"?><a/>',
        b'<?xml version="1.0" encoding="iso-8859-99"?><a/>',
        b'<?xml version="1.0" encoding="us-ascii"?><a b="\xe6"/>',
        "<a/>".encode("utf-16")[:-1],
        '<a b="'.encode("utf-16") + b"\x00\xd8" + '"/>'.encode("utf-16-le"),
    ],
)
def test_encodings_that_are_not_kept_to_are_refused(data: bytes) -> None:
    with pytest.raises(DataRefused) as caught:
        text(data)
    assert caught.value.rule == "XML_ENCODING"


def test_lines_of_the_declaration_are_kept() -> None:
    _, made = text(b'<?xml version="1.0"\n encoding="iso-8859-1"\n?>\n<a/>')
    assert made.index(b"<a/>") == len(made) - 4
    assert made.count(b"\n") == 3
