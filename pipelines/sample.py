"""Writes the sample hospital and load data as extracts: data files and ``extract.toml``.

Belongs here: files, formats and the command line of the sample. Does not belong here: what the rows say
(``transforms.sample.hospital``).

The two units show two ways of writing: nordfjell in UTF-8 with semicolons and decimal comma, which a reader must find
out; sorvik in Windows-1252 with commas and decimal point, which its ``extract.toml`` states.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

import click
import polars as pl

from schemas.contract import CURRENT
from schemas.errors import NprError
from schemas.extract_file import Accepted, Encoding
from transforms.sample.hospital import TAKEN, TWO_YEARS, YEAR_2020, Frames, as_text, generate, profile_of, with_faults

Format = Literal["csv", "parquet"]
SEED = 2020
PATIENTS_PER_EPISODE = 0.2
_SOURCE_SYSTEM = "Sample generator (invented data)"


@dataclass(frozen=True, slots=True)
class Style:
    """How a unit writes CSV. stated: whether extract.toml tells."""

    encoding: Encoding
    separator: str
    decimal: str
    stated: bool


@dataclass(frozen=True, slots=True)
class SampleUnit:
    """Size and habits of one unit of the sample."""

    key: str
    episodes: int
    patients: int
    seed: int
    style: Style
    faults: bool


PLAIN = Style("utf-8", ";", ",", stated=False)
STATED = Style("windows-1252", ",", ".", stated=True)
# Seeds under which what is rare occurs: deaths, open stays, contacts within a stay, patients from abroad.
SAMPLE = (
    SampleUnit("nordfjell", 1600, 245, 2049, PLAIN, faults=True),
    SampleUnit("sorvik", 400, 62, 2010, STATED, faults=False),
)


def write_sample(folder: Path) -> None:
    """Write the sample: one folder per unit, the same bytes at every call."""
    for unit in SAMPLE:
        frames = generate(
            profile_of(unit.key), episodes=unit.episodes, patients=unit.patients, seed=unit.seed, window=TWO_YEARS
        )
        text = {name: as_text(frame, decimal=unit.style.decimal) for name, frame in frames.items()}
        accepted: tuple[Accepted, ...] = ()
        if unit.faults:
            text, accepted = with_faults(text)
        _write_csv(folder / unit.key, unit.key, text, unit.style, accepted)


def write_extract(
    folder: Path,
    unit_key: str,
    episodes: int,
    seed: int = SEED,
    format: Format = "parquet",  # noqa: A002 the name users give on the command line
) -> None:
    """Write clean load data of any size: episodes begun in 2020, about one patient for five of them.

    folder: made when absent; files of the contract in it are replaced. Raises WrongUse for impossible sizes.
    """
    patients = max(10, round(episodes * PATIENTS_PER_EPISODE))
    frames = generate(profile_of(unit_key), episodes=episodes, patients=patients, seed=seed, window=YEAR_2020)
    if format == "csv":
        _write_csv(folder, unit_key, {n: as_text(f, decimal=PLAIN.decimal) for n, f in frames.items()}, PLAIN, ())
    else:
        write_parquet(folder, unit_key, frames)


def _write_csv(
    folder: Path, unit_key: str, text: Mapping[str, pl.DataFrame], style: Style, accepted: tuple[Accepted, ...]
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in text.items():
        (folder / f"{name}.csv").write_bytes(_csv(frame, style))
    _write_toml(folder, unit_key, {n: (f"{n}.csv", len(f)) for n, f in text.items()}, style, accepted)


def _csv(frame: pl.DataFrame, style: Style) -> bytes:
    buffer = io.BytesIO()
    frame.write_csv(buffer, separator=style.separator, quote_style="necessary", line_terminator="\n")
    written = buffer.getvalue()
    # Re-coding copies the whole file as text, so only where it must be.
    return written if style.encoding == "utf-8" else written.decode("utf-8").encode(style.encoding)


def write_parquet(folder: Path, unit_key: str, frames: Frames) -> None:
    """Write frames of the contract's tables as an extract."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in frames.items():
        frame.write_parquet(folder / f"{name}.parquet")
    _write_toml(folder, unit_key, {n: (f"{n}.parquet", len(f)) for n, f in frames.items()}, PLAIN, ())


def _write_toml(
    folder: Path,
    unit_key: str,
    files: Mapping[str, tuple[str, int]],
    style: Style,
    accepted: tuple[Accepted, ...],
) -> None:
    lines = [
        "# Invented data: no patient, number or event in this extract is real.",
        f"contract = {_quoted(CURRENT)}",
        f"source_system = {_quoted(_SOURCE_SYSTEM)}",
        'environment = "test"',
        f"extracted_at = {TAKEN.isoformat()}",
        f"reporting_unit = {_quoted(unit_key)}",
    ]
    for name, (path, rows) in files.items():
        lines += ["", f"[files.{name}]", f"path = {_quoted(path)}", f"rows = {rows}"]
        if style.stated:
            stated = {"encoding": style.encoding, "separator": style.separator, "decimal": style.decimal}
            lines += [f"{key} = {_quoted(value)}" for key, value in stated.items()]
    for fault in accepted:
        lines += ["", "[[accepted]]"]
        lines += [f"{key} = {_quoted(value)}" for key, value in fault.model_dump().items()]
    (folder / "extract.toml").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def _quoted(value: object) -> str:
    # A JSON string of printable text is a TOML basic string, and a JSON integer a TOML integer.
    return json.dumps(value, ensure_ascii=False)


@click.command(help="Write the sample hospital, or load data when --episodes is given.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write to.")
@click.option("--unit", default="nordfjell", show_default=True, help="Key of the reporting unit (load data only).")
@click.option("--episodes", type=click.IntRange(min=1), help="Number of episodes; without it the sample is written.")
@click.option("--seed", type=click.IntRange(min=0), default=SEED, show_default=True, help="Load data only.")
@click.option("--format", "form", type=click.Choice(get_args(Format)), default="parquet", show_default=True)
def main(out: Path, unit: str, episodes: int | None, seed: int, form: str) -> None:
    """Command line: ``python -m pipelines.sample --out DIR``."""
    try:
        if episodes is None:
            write_sample(out)
        else:
            write_extract(out, unit, episodes, seed, cast(Format, form))
    except NprError as error:
        click.echo(str(error), err=True)
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main()
