"""Generated documentation: written by ``make docs``, checked by ``make check``.

Belongs here: which pages are made from what, and comparing them. Does not belong here: their text.
"""

from __future__ import annotations

from pathlib import Path

import click

from schemas.contract import load_contract
from transforms.contract_page import contract_page

DOCS = Path(__file__).parent.parent / "docs"


def pages() -> dict[Path, str]:
    """Path -> text of every generated page."""
    return {DOCS / "extract-contract.md": contract_page(load_contract())}


@click.command()
@click.option("--check", is_flag=True, help="change nothing; exit 1 when a page is not current")
def main(*, check: bool) -> None:
    """Write the generated pages."""
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if check and stale:
        raise click.ClickException(f"not current, run `make docs`: {', '.join(path.name for path in stale)}")
    for path in stale:
        path.write_text(pages()[path], encoding="utf-8")


if __name__ == "__main__":
    main()
