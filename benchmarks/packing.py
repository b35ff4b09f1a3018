"""Packing, signing and splitting, against deflating and encrypting the same bytes once.

    python benchmarks/packing.py --episodes 100000
    python benchmarks/packing.py --episodes 1000000

Renders seeded episodes, then does each of these forth and back, one process each, CPU seconds of user and system:

    deflate            one gzip stream over the very bytes
    deflate, encrypt   the same, and one AES-256-CBC over what comes out
    split              whole patients into gzip parts below the limit, nothing encrypted
    all                split, CMS, signature, mail, written to a file

Exit code 1 when split needs more than 1.05 of deflate, all more than 2 of deflate-and-encrypt, a part (but the last) is
less than 0.999 full, a part above the limit, or a 50 MB document needs more than 250 MB of memory.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import resource
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import click
import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

LIMIT = 10_000_000
BATCH = 100_000
MOST_SPLIT, MOST_ALL, LEAST_FILL, MOST_MEMORY = 1.05, 2.0, 0.999, 250_000_000
PIECE = 1 << 20
Figures = dict[str, Any]


def make(episodes: int, folder: Path) -> None:
    """Rendered patients and where each ends: the XML of the rendering benchmark, a batch of it again and again.

    A batch is 90 MB and deflate looks back 32 kB, so the repetition does not show.
    """
    from benchmarks.render import make_layout, make_tables  # noqa: PLC0415 - the measured processes need no polars
    from transforms.message.render import render_patients  # noqa: PLC0415

    rendered = render_patients(make_layout(), make_tables(min(episodes, BATCH)))
    size = len(rendered.data)
    times = -(-episodes // BATCH)
    with (folder / "patients.xml").open("wb") as file:
        for _ in range(times):
            file.write(rendered.data)
    np.save(folder / "ends.npy", np.concatenate([np.asarray(rendered.ends) + size * place for place in range(times)]))


def _pieces(folder: Path) -> Iterator[bytes]:
    with (folder / "patients.xml").open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


@cache
def _packing() -> Any:  # noqa: ANN401
    """A packing with keys made for this process."""
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    from pipelines.parties.rehearsal import make_rehearsal_receiver, make_rehearsal_sender  # noqa: PLC0415
    from transforms.shipping.ebms import signer  # noqa: PLC0415
    from transforms.shipping.packing import Packing, PackingIds  # noqa: PLC0415

    now = dt.datetime.now(dt.UTC)
    key, certificate = make_rehearsal_sender(now)
    by = signer(load_pem_private_key(key, None), x509.load_pem_x509_certificate(certificate))  # type: ignore[arg-type]
    ids = PackingIds("m", "c", "mail@sender.invalid", "boundary", "soap", "payload", now)
    receiver = x509.load_pem_x509_certificate(make_rehearsal_receiver(now)[1])
    words = {"service": "S-NPR_ORD", "action": "NPR_ORD", "from_role": "sender", "to_role": "receiver", "cpa_id": "1_0"}
    return Packing(
        gzip=True,
        certificate=receiver,
        ids=ids,
        from_her="1",
        to_her="0",
        from_mail="a@sender.invalid",
        to_mail="b@rehearsal.invalid",
        signer=by,
        **words,
    )


def deflate(folder: Path) -> Figures:
    """The bound of the splitter: one stream."""
    from transforms.shipping.packing import compressor  # noqa: PLC0415

    stream, size = compressor(), 0
    for piece in _pieces(folder):
        size += len(stream.compress(piece))
    return {"bytes": size + len(stream.flush())}


def deflate_encrypt(folder: Path) -> Figures:
    """The bound of the whole: the same stream, and its cipher."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes  # noqa: PLC0415

    from transforms.shipping.packing import compressor  # noqa: PLC0415

    stream = compressor()
    cipher = Cipher(algorithms.AES256(secrets.token_bytes(32)), modes.CBC(secrets.token_bytes(16))).encryptor()
    size = 0
    for piece in _pieces(folder):
        size += len(cipher.update(stream.compress(piece)))
    return {"bytes": size + len(cipher.update(stream.flush()))}


def _parts(folder: Path, packing: Any, fed: list[int]) -> Iterator[Any]:  # noqa: ANN401
    from transforms.shipping.packing import packed_size_of_payload  # noqa: PLC0415
    from transforms.shipping.split import Around, Bound, Limits, plan_parts_gzip  # noqa: PLC0415

    ends = np.load(folder / "ends.npy")
    data = (folder / "patients.xml").open("rb")

    def chunk(first: int, last: int) -> bytes:
        start = int(ends[first - 1]) if first else 0
        data.seek(start)
        piece = data.read(int(ends[last - 1]) - start)
        fed[0] += len(piece)
        return piece

    around = Around(b"<Melding>", b"</Melding>", b"<MsgHead>", b"</MsgHead>")
    limits = Limits(Bound("mail", lambda size: packed_size_of_payload(size, packing), LIMIT))
    yield from plan_parts_gzip(chunk, ends, lambda _number: around, limits)


def split(folder: Path) -> Figures:
    """Parts as gzip payloads."""
    fed = [0]
    parts = [part for part, _payload in _parts(folder, _packing(), fed)]
    sizes = [part.packed_bytes for part in parts]
    return {"parts": len(parts), "fed": fed[0], "fill": min(sizes[:-1], default=LIMIT) / LIMIT, "largest": max(sizes)}


def whole(folder: Path) -> Figures:
    """Finished, signed mails on disk."""
    from transforms.shipping.packing import mail_pieces  # noqa: PLC0415

    packing = _packing()
    sizes = []
    for part, payload in _parts(folder, packing, [0]):
        with (folder / "part.eml").open("wb") as file:
            file.writelines(mail_pieces([payload], len(payload), packing))
        sizes.append((folder / "part.eml").stat().st_size)
        if sizes[-1] != part.packed_bytes:
            raise click.ClickException("a mail has not the size that was planned")
    return {"parts": len(sizes), "largest": max(sizes)}


def memory(folder: Path) -> Figures:
    """A document of 50 MB that does not compress, from a file to a signed mail in a file, without gzip."""
    from transforms.shipping.packing import mail_pieces  # noqa: PLC0415

    size = 50_000_000
    with (folder / "document").open("wb") as file:
        for _ in range(50):
            file.write(os.urandom(size // 50))
    with (folder / "document").open("rb") as file, (folder / "part.eml").open("wb") as mail:
        pieces = iter(lambda: file.read(PIECE), b"")
        mail.writelines(mail_pieces(pieces, size, _packing()))
    return {"mail": (folder / "part.eml").stat().st_size}


WAYS: dict[str, Callable[[Path], Figures]] = {
    "deflate": deflate,
    "deflate_encrypt": deflate_encrypt,
    "split": split,
    "all": whole,
    "memory": memory,
}


def measured(way: str, folder: Path) -> Figures:
    """One way in a process of its own; start-up is taken off by the process itself."""
    command = [sys.executable, __file__, "--way", way, "--folder", str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)})  # noqa: S603
    figures: Figures = json.loads(done.stdout)
    return figures


def _alone(way: str, folder: Path) -> Figures:
    import transforms.shipping.split  # noqa: F401, PLC0415 - imports are outside the clock for every way, and the making of keys

    _packing()
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    figures = WAYS[way](folder)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return figures | {"cpu": cpu, "wall": wall, "peak": _peak()}


def _peak() -> int:
    """Most resident bytes of this program. ru_maxrss would count those of the process that started it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def judged(runs: dict[str, list[Figures]]) -> Figures:
    """Ratios are medians over the pairs of one round."""
    pairs = {
        "split / deflate": ("split", "deflate"),
        "all / deflate and encrypt": ("all", "deflate_encrypt"),
    }
    ratios = {
        name: statistics.median(a["cpu"] / b["cpu"] for a, b in zip(runs[over], runs[under], strict=True))
        for name, (over, under) in pairs.items()
    }
    last = {way: found[-1] for way, found in runs.items()}
    return {
        "all ratios": {
            name: [round(a["cpu"] / b["cpu"], 3) for a, b in zip(runs[over], runs[under], strict=True)]
            for name, (over, under) in pairs.items()
        },
        "cpu": {way: round(statistics.median(one["cpu"] for one in found), 2) for way, found in runs.items()},
        "ratios": {name: round(ratio, 3) for name, ratio in ratios.items()},
        "parts": last["split"]["parts"],
        "fill": round(last["split"]["fill"], 5),
        "largest": last["all"]["largest"],
        "fed": last["split"]["fed"],
        "peak_all": last["all"]["peak"],
        "peak_50MB": last["memory"]["peak"],
        "mail_50MB": last["memory"]["mail"],
        "load_average": round(os.getloadavg()[0], 1),
    }


@click.command()
@click.option("--episodes", default=100_000, show_default=True)
@click.option("--rounds", default=7, show_default=True)
@click.option("--json", "as_json", is_flag=True)
@click.option("--way", type=click.Choice(list(WAYS)), hidden=True)
@click.option("--folder", type=click.Path(path_type=Path), hidden=True)
def main(*, episodes: int, rounds: int, as_json: bool, way: str | None, folder: Path | None) -> None:
    """Measure all ways in turns and judge."""
    if way and folder:
        print(json.dumps(_alone(way, folder)))
        return
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        make(episodes, room)
        xml = (room / "patients.xml").stat().st_size
        runs: dict[str, list[Figures]] = {one: [] for one in WAYS}
        for number in range(rounds):
            # Forth and back, so that a machine that gets busier or idler favours nobody; memory does not vary.
            order = [one for one in WAYS if number == 0 or one != "memory"]
            for one in order if number % 2 == 0 else reversed(order):
                runs[one].append(measured(one, room))
        found: Figures = {"episodes": episodes, "xml": xml, **judged(runs)}
        found["fed_twice"] = round(found["fed"] / xml - 1, 5)
    print(json.dumps(found) if as_json else "\n".join(f"{key}: {value}" for key, value in found.items()))
    missed = (
        found["ratios"]["split / deflate"] > MOST_SPLIT
        or found["ratios"]["all / deflate and encrypt"] > MOST_ALL
        or found["fill"] < LEAST_FILL
        or found["largest"] > LIMIT
        or found["peak_50MB"] > MOST_MEMORY
    )
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
