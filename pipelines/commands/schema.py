"""``npr schema``: official schemas put in, listed and compared.

Belongs here: the arguments of these commands and their text. Does not belong here: installing
(``pipelines.home.schemas``), comparing (``transforms.model.schema_diff``). Heavy imports wait until a command runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pipelines.home.schemas import Added
    from schemas.layout import Layout
    from schemas.registry import Held, Registry

Command = Callable[[str, click.Group], Callable[[Callable[..., Any]], click.Command]]
Row = dict[str, Any]


def register(parent: click.Group, command: Command) -> None:
    """Hang the group below ``npr``. command: the decorator that prints (record, text) and gives the exit codes."""
    group = click.Group("schema", help="Put official schemas in, list what counts, compare versions.")
    parent.add_command(group)
    command("add", group)(_add)
    command("list", group)(_list)
    command("diff", group)(_diff)


@click.argument("path", type=click.Path(path_type=Path))
@click.option("--version", default="", help="version, where the namespace does not tell it")
@click.option("--module", default="", help="module, where the namespace does not tell it")
@click.option("--replace", is_flag=True, help="take the place of different official files of the same version")
@click.pass_context
def _add(context: click.Context, path: Path, version: str, module: str, replace: bool) -> tuple[Any, str]:  # noqa: FBT001
    """Install the official schemas in PATH, a folder or zip; from then on they count instead of ours."""
    import datetime as dt  # noqa: PLC0415

    from pipelines.home.registry import registry_of  # noqa: PLC0415
    from pipelines.home.schemas import add, home_of  # noqa: PLC0415

    home = home_of(context.obj["home"])
    today = dt.datetime.now(dt.UTC).date()
    added = add(home, path, today, version=version, module=module, replace=replace)
    registry = registry_of(home)
    rows = [_of_added(registry, one) for one in added]
    return rows, "\n".join(_added_text(row) for row in rows)


def _of_added(registry: Registry, one: Added) -> Row:
    record = one.record
    years = [held.years for held in registry.held() if (held.module, held.version) == (record.module, record.version)]
    return {
        "module": record.module,
        "version": record.version,
        "namespace": record.namespace,
        "state": one.state,
        "sha256": record.sha256,
        "files": list(record.files),
        "data_years": list(years[0]),
        "nothing_feeds": _gaps(registry, one.layout),
    }


def _gaps(registry: Registry, layout: Layout) -> list[Row]:
    """What no column feeds; empty for modules this project makes no message of."""
    from transforms.model.coverage import gaps  # noqa: PLC0415

    contract = registry.contract()
    if layout.module not in registry.versions()["message_types"]:
        return []
    return [asdict(gap) for gap in gaps(contract, layout, registry.before(layout.module, layout.version))]


def _added_text(row: Row) -> str:
    years = ", ".join(map(str, row["data_years"])) or "none yet (versions.toml, see docs/schemas.md)"
    lines = [
        f"{row['module']} {row['version']}: {row['state']}, {len(row['files'])} files, sha256 {row['sha256'][:12]}",
        f"  namespace {row['namespace']}; data years {years}",
    ]
    lines += [f"  nothing feeds {gap['kind']} {gap['place']}: {gap['why']}" for gap in row["nothing_feeds"]]
    return "\n".join(lines)


@click.pass_context
def _list(context: click.Context) -> tuple[Any, str]:
    """Show for each version and module which schema counts, ours or an official one."""
    from pipelines.home.registry import registry_of  # noqa: PLC0415
    from pipelines.home.schemas import home_of  # noqa: PLC0415

    registry = registry_of(home_of(context.obj["home"]))
    rows = [_of_held(registry, held) for held in registry.held()]
    columns = ("version", "module", "used", "sha256", "A", "B", "C", "data years", "namespace")
    cells = [
        (
            row["version"],
            row["module"],
            row["used"],
            row["sha256"][:12],
            *(str(row["certainty"][mark]) for mark in "ABC"),
            " ".join(map(str, row["data_years"])),
            row["namespace"],
        )
        for row in rows
    ]
    return rows, _columns(columns, cells)


def _of_held(registry: Registry, held: Held) -> Row:
    layout = registry.layout(held.module, held.version)
    record = registry.installed(held.module, held.version)
    return {
        "version": held.version,
        "module": held.module,
        "used": "official" if held.official else "ours",
        "sha256": layout.sha256,
        "certainty": dict(layout.certainties()),
        "data_years": list(held.years),
        "namespace": layout.namespace,
        "added": record.added.isoformat() if record else None,
        "source": record.source if record else None,
    }


@click.argument("a")
@click.argument("b")
@click.pass_context
def _diff(context: click.Context, a: str, b: str) -> tuple[Any, str]:
    """Compare two schemas, A the older: MODULE:VERSION, with ours: or official: before it to pick one."""
    from pipelines.home.registry import registry_of  # noqa: PLC0415
    from pipelines.home.schemas import home_of  # noqa: PLC0415
    from schemas.errors import WrongUse  # noqa: PLC0415
    from transforms.model.schema_diff import diff  # noqa: PLC0415

    registry = registry_of(home_of(context.obj["home"]))
    older, newer = (_chosen(registry, text) for text in (a, b))
    if older.module != newer.module:
        raise WrongUse(f"{older.module} and {newer.module} are different messages", fix="compare one module")
    changes = [asdict(change) for change in diff(registry.contract(), older, newer)]
    record = {
        "a": _of_layout(older),
        "b": _of_layout(newer),
        "changes": changes,
        "nothing_feeds": _gaps(registry, newer),
    }
    return record, _diff_text(record)


def _chosen(registry: Registry, text: str) -> Layout:
    from schemas.errors import WrongUse  # noqa: PLC0415

    *prefix, module, version = ["", *text.split(":")][-3:]
    origin = prefix[0] if prefix else ""
    if text.count(":") not in (1, 2) or origin not in ("", "ours", "official"):
        raise WrongUse(f"{text!r} names no schema", fix="write MODULE:VERSION, such as kpp:58.0.1 or ours:kpp:58.0.1")
    if origin == "ours":
        return registry.ours(module, version)
    if origin == "official" and registry.installed(module, version) is None:
        raise WrongUse(f"{module} {version}: no official schema is installed", fix="npr schema add PATH")
    return registry.layout(module, version)


def _of_layout(layout: Layout) -> Row:
    used = "official" if layout.official else "ours"
    return {"module": layout.module, "version": layout.version, "used": used, "sha256": layout.sha256}


def _diff_text(record: Mapping[str, Any]) -> str:
    a, b = (f"{record[key]['module']} {record[key]['version']} ({record[key]['used']})" for key in "ab")
    cells = [
        (
            f"{change['kind']} {change['what']}",
            change["place"],
            change["aspect"],
            change["before"],
            change["after"],
            " ".join(change["columns"]) or "-",
        )
        for change in record["changes"]
    ]
    table = _columns(("change", "place", "aspect", "before", "after", "columns affected"), cells)
    found = "1 difference" if len(cells) == 1 else f"{len(cells)} differences"
    lines = [f"{a} to {b}: {found}", *([table] if cells else [])]
    lines += [f"nothing feeds {gap['kind']} {gap['place']}: {gap['why']}" for gap in record["nothing_feeds"]]
    return "\n".join(lines)


def _columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Plain text in columns: nothing is cut off or wrapped, so it can be searched and piped."""
    widths = [max(len(row[number]) for row in (header, *rows)) for number in range(len(header))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (header, *rows))
    return "\n".join(line.rstrip() for line in lines)
