"""Coverage-guided fuzzing of all that reads what comes into the inbox.

Each reader runs in a process of its own under a limit of memory and of time for one input. An input fails when anything
but DataRefused comes out, or when what came out cannot be kept: text that is no UTF-8, a name with a folder in it, more
bytes than the limits allow. Seeds are made by the writers of the tests; nothing of a real answer is in them.

    python benchmarks/fuzz_inbox.py                        # 1 000 000 inputs and more, over all readers
    python benchmarks/fuzz_inbox.py --reader zip --runs N  # one of them
    python benchmarks/fuzz_inbox.py --corpus DIR           # keeps what it found interesting, and goes on from there
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import astuple, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import atheris

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
MOST_MB = 300
SLOWEST_SECONDS = 60
LONGEST = 20_000
NOW = dt.datetime(2020, 5, 5, tzinfo=dt.UTC)
INSTRUMENTED = ["schemas", "transforms", "zipfile", "pyzipper", "email", "csv"]
CHILD = sys.argv[1:2] == ["--child"]

with atheris.instrument_imports(include=INSTRUMENTED) if CHILD else nullcontext():
    from schemas.answered import Answered
    from schemas.errors import DataRefused
    from schemas.feedback_fields import feedback_fields
    from schemas.receipts import read_receipt
    from transforms.answers import bounce, feedback
    from transforms.answers.reading import read
    from transforms.answers.told import Told
    from transforms.answers.transport import read_transport
    from transforms.answers.unpacking import LIMITS, Document, documents
    from transforms.shipping import cms, ebms

PASSWORD = "only-a-test"  # noqa: S105 - of archives made here
PAYLOAD = b"x"
NAMES = ("NPR_ERR_1.csv", "NPR_VAL.xml", "svar.html", "a.zip", "m.eml", "XPR_ERR.xml", "b.bin", "")
Reader = Callable[[bytes], object]


# --- what is read, and what must hold of it ---


def kept(answered: Answered | None) -> None:
    """What the inbox does with an answer: the ledger's record, and the table of errors."""
    if answered is None:
        return
    record = answered.answer.model_dump_json()
    assert type(answered.answer).model_validate_json(record) == answered.answer
    for error in answered.errors:
        "".join(astuple(error)).encode()


def whole(data: bytes) -> None:
    """A file of the inbox, as ``npr inbox`` takes it. The first byte chooses its name."""
    name = NAMES[data[0] % len(NAMES)] if data else ""
    came = 0
    for document in documents(data[1:], name, (PASSWORD,), _opener):
        came += len(document.data)
        _insist_document(document)
        with suppress(DataRefused):
            kept(read(document, feedback_fields(), NOW, lambda ref: f"ours-{ref}"))
    assert came <= LIMITS.bytes + len(data)


def _insist_document(document: Document) -> None:
    document.name.encode()
    assert "/" not in document.name
    assert "\\" not in document.name
    assert not re.search(r"[\x00-\x1f]", document.name)


def _opener(envelope: bytes) -> bytes:
    return cms.decrypt(envelope, [_holder()])


@cache
def _holder() -> cms.KeyPair:
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    from pipelines.parties.rehearsal import make_rehearsal_receiver  # noqa: PLC0415

    # Kept beside the corpus, so that an envelope found earlier still opens.
    folder = Path(os.environ["NPR_FUZZ_KEYS"])
    paths = folder / "key.pem", folder / "certificate.pem"
    if not paths[0].is_file():
        for path, content in zip(paths, make_rehearsal_receiver(dt.datetime.now(dt.UTC)), strict=True):
            path.write_bytes(content)
    key = load_pem_private_key(paths[0].read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return cms.KeyPair(key, x509.load_pem_x509_certificate(paths[1].read_bytes()))


def receipts(data: bytes) -> None:
    """AppRec 1.0 and 1.1."""
    found = read_receipt(data, "a.xml")
    repr(found).encode()
    for error in found.errors:
        str((error.means, error.resend)).encode()


def transport(data: bytes) -> None:
    """Acknowledgments and errors of ebMS."""
    repr(read_transport(data, "a.xml")).encode()


def bounces(data: bytes) -> None:
    """Delivery reports of mail servers."""
    bounce.is_bounce(data)
    repr(bounce.read_bounce(data, "m.eml")).encode()


def signed(data: bytes) -> None:
    """The signature of an envelope."""
    ebms.verify(data, {"p@x": PAYLOAD})


def xml(data: bytes) -> None:
    """Reports in XML."""
    kept(read(Document("NPR_ERR.xml", data), feedback_fields(), NOW, lambda _: ""))
    feedback.xml(data, Told(feedback_fields(), "a.xml"))


def table(data: bytes) -> None:
    """Reports in CSV."""
    kept(read(Document("NPR_ERR.csv", data), feedback_fields(), NOW, lambda _: ""))
    feedback.table(data, Told(feedback_fields(), "a.csv"))


def html(data: bytes) -> None:
    """Reports in html."""
    feedback.html(data, Told(feedback_fields(), "a.html"))
    kept(read(Document("NPR_ERR.html", b"<html>" + data), feedback_fields(), NOW, lambda _: ""))


def archive(data: bytes) -> None:
    """Archives as bytes, locked and open."""
    for document in documents(data, "a.zip", ("wrong", PASSWORD)):
        _insist_document(document)


def built(data: bytes) -> None:
    """Archives that are whole as archives, with names, modes, methods and contents that the fuzzer chooses."""
    packed, outside = _build(data)
    found = list(documents(packed, "a.zip", (PASSWORD,)))
    assert not outside, "a name that leaves the archive was let through"
    for document in found:
        _insist_document(document)


def _build(data: bytes) -> tuple[bytes, bool]:
    chosen = atheris.FuzzedDataProvider(data)
    out, outside = io.BytesIO(), False
    warnings.simplefilter("ignore")  # of names that occur twice
    with zipfile.ZipFile(out, "w") as made:
        for _ in range(chosen.ConsumeIntInRange(0, 6)):
            pieces = [_PIECES[chosen.ConsumeIntInRange(0, len(_PIECES) - 1)] for _ in range(4)]
            name = "".join(pieces) + chosen.ConsumeUnicodeNoSurrogates(4)
            info = zipfile.ZipInfo(name or "x")
            info.create_system = chosen.ConsumeIntInRange(0, 4)
            info.external_attr = chosen.ConsumeUInt(4)
            info.compress_type = chosen.PickValueInList([0, 8, 12, 14])
            content = bytes(chosen.ConsumeIntInRange(0, 300_000)) if chosen.ConsumeBool() else chosen.ConsumeBytes(200)
            with suppress(ValueError, UnicodeError, OverflowError):
                made.writestr(info, content)
                stored = info.filename
                outside = outside or stored.startswith("/") or ".." in re.split(r"[/\\]", stored)
    return out.getvalue(), outside


_PIECES = ("", "a", "../", "/", "..\\", "C:", ".", "NPR_ERR.csv", "b/", "\x01", "A", "a.zip", "æ")


def mail(data: bytes) -> None:
    """Mails, their attachments opened with our own key where they are enveloped."""
    for document in documents(b"MIME-Version: 1.0\n" + data, "m.eml", (PASSWORD,), _opener):
        _insist_document(document)


def envelope(data: bytes) -> None:
    """CMS EnvelopedData."""
    cms.decrypt(data, [_holder()])


def gzipped(data: bytes) -> None:
    """Gzip."""
    list(documents(b"\x1f\x8b" + data, "a.gz"))


# --- seeds ---


def seeds(reader: str) -> Iterator[bytes]:
    """Sound inputs of a reader, and a few hostile ones."""
    import test_inbox as made  # noqa: PLC0415
    from test_receipts import receipt  # noqa: PLC0415

    from schemas.receipts import VERSIONS  # noqa: PLC0415

    reports = {
        "xml": [made.xml_report(), made.xml_report(encoding="utf-16")],
        "table": [made.csv_report(), made.csv_report(rows="", total="Antall feil;0\n")],
        "html": [made.html_report()],
        "receipts": [receipt(space) for space in VERSIONS],
        "transport": [made.ack("e-1"), made.ack("e-1", "MessageData"), made.ack("e-1", "MessageData", _ERRORS)],
    }
    packed = {
        "archive": [made.locked(made.csv_report()), made.locked(made.csv_report(), aes=False), *_small(made.HOSTILE)],
        "mail": [made.mailed(made.locked(made.csv_report()), "svar.zip"), _enveloped(made.xml_report())],
        "gzipped": [_gzip(made.csv_report())[2:]],
        "bounces": [_bounce()],
        "envelope": [cms.encrypt(made.xml_report(), _holder().certificate)],
        "signed": [_signed()],
        "built": [bytes(range(64)), b"\x03" * 200],
    }
    everything = [data for many in (*reports.values(), *packed.values()) for data in many]
    mine = {**reports, **packed, "whole": [b"\0" + data for data in everything]}
    yield from mine[reader]


_ERRORS = '<eb:ErrorList><eb:Error eb:errorCode="SecurityFailure" eb:severity="Error"/></eb:ErrorList>'


def _small(hostile: dict[str, bytes]) -> list[bytes]:
    return [data for data in hostile.values() if len(data) <= LONGEST]


def _gzip(data: bytes) -> bytes:
    import gzip  # noqa: PLC0415

    return gzip.compress(data)


def _enveloped(data: bytes) -> bytes:
    import base64  # noqa: PLC0415

    inside = base64.encodebytes(cms.encrypt(data, _holder().certificate)).decode()
    head = "Content-Type: application/pkcs7-mime\nContent-Transfer-Encoding: base64\n\n"
    return f"{head}{inside}".encode()


def _bounce() -> bytes:
    lines = [
        "From: <>",
        'MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n',
        "--b\r\nContent-Type: text/plain\r\n\r\nIt did not arrive.",
        "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x.invalid\r\n",
        "Final-Recipient: rfc822; a@b.invalid\r\nAction: failed\r\nStatus: 5.1.1\r\n",
        "--b\r\nContent-Type: message/rfc822\r\n\r\nMessage-ID: <m@x.invalid>\r\nMIME-Version: 1.0\r\n",
        "x\r\n--b--\r\n",
    ]
    return "\r\n".join(lines).encode()


def _signed() -> bytes:
    header = ebms.Header(
        from_her="1",
        from_role="Sender",
        to_her="2",
        to_role="Receiver",
        cpa_id="c",
        conversation_id="k",
        service="s",
        action="a",
        message_id="m",
        timestamp=NOW,
        payload_content_id="p@x",
    )
    by = ebms.signer(_holder().key, _holder().certificate)
    return ebms.signed_soap(header, hashlib.sha256(PAYLOAD).digest(), by)


_READERS = (whole, receipts, transport, signed, xml, table, html, archive, built, mail, bounces, envelope, gzipped)
READERS: dict[str, Reader] = {reader.__name__: reader for reader in _READERS}
SHARES = {"whole": 3, "envelope": 0.5, "signed": 0.5, "archive": 1.5, "built": 0.5}
"""Of the inputs, against the ordinary share of 1: slow readers less, those with more behind them more."""


# --- running ---


def child(reader: str, arguments: list[str]) -> None:
    """Fuzz one reader in this process; libFuzzer ends it."""
    read_one = READERS[reader]

    def one(data: bytes) -> None:
        try:
            read_one(data)
        except DataRefused as refused:
            # What a person is told can be printed and kept.
            f"{refused.what}{refused.where}{refused.rule}{refused.fix}".encode()

    atheris.Setup([sys.argv[0], *arguments], one)
    atheris.Fuzz()


@dataclass(frozen=True)
class Result:
    """What became of one reader. crash: the input, where one was found."""

    reader: str
    runs: int
    peak_mb: int
    seconds: float
    coverage: int
    crash: str


def fuzz(reader: str, runs: int, corpus: Path) -> Result:
    """One reader in a process of its own."""
    own = corpus / reader
    own.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seeds(reader)):
        (own / f"seed-{number}").write_bytes(data)
    begun = os.times()
    arguments = [
        f"-runs={runs}",
        f"-rss_limit_mb={MOST_MB}",
        f"-timeout={SLOWEST_SECONDS}",
        f"-max_len={LONGEST}",
        f"-artifact_prefix={corpus}/{reader}-",
        "-print_final_stats=1",
        "-close_fd_mask=1",
        str(own),
    ]
    done = subprocess.run(  # noqa: S603 - this very file
        [sys.executable, __file__, "--child", reader, *arguments], capture_output=True, text=True, check=False
    )
    told, ended = done.stderr, os.times()
    crash = re.search(r"Test unit written to (\S+)", told)
    if done.returncode or crash:
        print(told[-4_000:], file=sys.stderr)
    return Result(
        reader=reader,
        runs=_figure(r"number_of_executed_units:\s*(\d+)", told),
        peak_mb=_figure(r"peak_rss_mb:\s*(\d+)", told),
        seconds=round(ended.children_user + ended.children_system - begun.children_user - begun.children_system, 1),
        coverage=_figure(r".*cov: (\d+)", told),
        crash=crash[1] if crash else "" if not done.returncode else f"exit code {done.returncode}",
    )


def _figure(pattern: str, text: str) -> int:
    found = re.findall(pattern, text)
    return int(found[-1]) if found else 0


def main() -> int:
    """Fuzz the readers one after the other; exit code 1 where one failed."""
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--reader", choices=READERS, action="append", help="[default: all]")
    given.add_argument("--runs", type=int, default=1_100_000, help="over all readers named")
    given.add_argument("--corpus", type=Path)
    given.add_argument("--json", action="store_true")
    said = given.parse_args()
    names = said.reader or list(READERS)
    shares: dict[str, float] = {name: SHARES.get(name, 1) for name in names}
    with tempfile.TemporaryDirectory() as room:
        corpus: Path = said.corpus or Path(room)
        corpus.mkdir(parents=True, exist_ok=True)
        os.environ["NPR_FUZZ_KEYS"] = str(corpus)
        results = []
        for name in names:
            results.append(fuzz(name, int(said.runs * shares[name] / sum(shares.values())), corpus))
            if not said.json:
                print(_line(results[-1]), flush=True)
    if said.json:
        print(json.dumps([one.__dict__ for one in results], indent=1))
    else:
        print(f"{sum(one.runs for one in results)} inputs, {sum(bool(one.crash) for one in results)} readers failed")
    return int(any(one.crash for one in results))


def _line(result: Result) -> str:
    state = f"FAILED: {result.crash}" if result.crash else "held"
    figures: tuple[Any, ...] = (result.reader, result.runs, result.peak_mb, result.seconds, state)
    return "{:<10} {:>9} inputs  {:>4} MB  {:>7} s  {}".format(*figures)


if __name__ == "__main__":
    if CHILD:
        child(sys.argv[2], sys.argv[3:])
    else:
        sys.exit(main())
