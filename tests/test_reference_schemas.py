"""Every official schema of the reference folder compiles through the local catalogue, and no socket is opened."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from schemas.xsd import compile_schema

REFERENCE = Path(__file__).parents[2] / "shared" / "reference" / "xsd"
SCHEMAS = sorted(REFERENCE.rglob("*.xsd"))
# Where a schema loads what neither lies beside it nor is among our own: the file that has that namespace.
ELSEWHERE = {
    "http://www.npr.no/xmlstds/56_0_0": REFERENCE / "xpr-ipl-56.0.0" / "NPR.xsd",
    "http://www.w3.org/2000/09/xmldsig#": REFERENCE / "xmldsig-core-schema.xsd",
    "http://www.kith.no/xmlstds/base64container": REFERENCE / "kith-base64.xsd",
}


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference schemas are not beside this repository")
def test_every_reference_schema_compiles_with_the_network_off(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_socket(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", no_socket)
    assert len(SCHEMAS) > 40
    for path in SCHEMAS:
        compile_schema(path, catalogue=ELSEWHERE)
