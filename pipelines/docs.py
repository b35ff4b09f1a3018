"""Generated files: pages, the XSDs of the model, the table of holidays; ``make docs`` writes, ``make check`` checks.

Belongs here: which files are made from what, and comparing them. Does not belong here: their text.
"""

from __future__ import annotations

from pathlib import Path

import click

from schemas.contract import load_contract
from schemas.identity_rules import identity_rules
from schemas.model import Model, load_model
from schemas.rulebook import coverage, rulebook
from schemas.versions import FOLDER
from schemas.workdays import HOLIDAYS_FILE
from transforms.model.xsd_text import message_xsd, shared_xsd
from transforms.pages.calendar import calendar_page, holidays_table
from transforms.pages.contract import contract_page
from transforms.pages.messages import message_pages, messages_page
from transforms.pages.rules import rules_page

DOCS = Path(__file__).parent.parent / "docs"
MESSAGES = DOCS / "messages"


def pages() -> dict[Path, bytes]:
    """Path -> content of every generated file."""
    model = load_model()
    texts = {
        DOCS / "extract-contract.md": contract_page(load_contract()),
        DOCS / "messages.md": messages_page(model),
        DOCS / "reporting-calendar.md": calendar_page(),
        HOLIDAYS_FILE: holidays_table(),
        **{MESSAGES / name: text for name, text in message_pages(model).items()},
        DOCS / "rules.md": rules_page(rulebook(), coverage(), tuple(identity_rules().values())),
    }
    return {path: text.encode() for path, text in texts.items()} | schema_files(model)


def schema_files(model: Model) -> dict[Path, bytes]:
    """Path -> content of every XSD made from the model, in the encoding that its first line names."""
    return {
        FOLDER / version.name / f"{name}.xsd": text.encode(version.encoding)
        for version in model.versions
        for name, text in [
            ("NPR", shared_xsd(version, model.shared_types(version.name))),
            *((module, message_xsd(model.message(module, version.name))) for module in version.held),
        ]
    }


@click.command()
@click.option("--check", is_flag=True, help="change nothing; exit 1 when a file is not current")
def main(*, check: bool) -> None:
    """Write the generated files."""
    current = pages()
    stale = {path: data for path, data in current.items() if not path.exists() or path.read_bytes() != data}
    # A page of a message that the model no longer holds would go on telling of it.
    over = [path for path in MESSAGES.glob("*.md") if path not in current]
    if check and (stale or over):
        names = ", ".join(f"{path.parent.name}/{path.name}" for path in (*stale, *over))
        raise click.ClickException(f"not current, run `make docs`: {names}")
    for path, data in stale.items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    for path in over:
        path.unlink()


if __name__ == "__main__":
    main()
