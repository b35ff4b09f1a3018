"""The page ``docs/messages.md`` and one page for each version and module, made from the model.

Belongs here: the text as a function of the model. Does not belong here: the story behind it (``docs/message-model.md``,
written by hand), and writing it (``pipelines.docs``).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from schemas.codelists import code_lists
from schemas.model import CODED, AttributeRow, Child, Message, Model, ModelClass, SimpleType, Version

MOST_CODES: Final = 40
_TAKEN: Final = {
    "enumerated": "the codes of the year",
    "typed": "text or whole numbers, no codes",
    "text": "any text",
}
HEAD: Final = """# Messages

For each version and module a page shows its tree, attributes, use, code lists and certainty:

{pages}
All of them are made from `schemas/npr/model/` by `make docs`; change it there. What was found out and how is told in
[message-model.md](message-model.md).

**None of this is an official schema.** Each attribute says how sure it is: A official schema or list seen, B third
party, older official cut, or carried from another version, C inferred. A valid message of ours has the shape we believe
in. Where an official schema is public (kpp from 53.1.3 on, ide 53.1.2), ours says the same, which a test proves.

## Official files

Those of all modules lie in the Sarepta archive of national standards (GitLab `utvikling/xpr`, one branch for each
version): `NPR.xsd`, `XPR(ord).xsd` or `NPR(ord).xsd`, and their `..._CodingSchemes.xsd`. Get the folder of your
version, then

```sh
npr schema add PATH    # folder or zip; checked without network, kept under NPR_HOME, from then on used in place of ours
npr schema list        # for each version and module: ours or official, digest, how sure
npr schema diff A B    # what differs, and which columns it touches
```

An official file decides layout and validation of its version and module. An attribute that it demands and no column
feeds is told before anything is rendered.
"""


def messages_page(model: Model) -> str:
    """The index as Markdown: links to every page, versions, counts, and how the versions of each module differ."""
    modules = [module for module in model.modules if any(module in version.held for version in model.versions)]
    head = HEAD.replace("{pages}", _links(model, modules))
    parts = [head, _versions(model), _counts(model, modules), _types(model)]
    return "\n".join([*parts, *(_module(model, module) for module in modules)])


def message_pages(model: Model) -> dict[str, str]:
    """Name of the file -> Markdown of one module in one version: tree, attributes, code lists."""
    return {
        page_name(version.name, module): message_page(model.message(module, version.name))
        for version in model.versions
        for module in version.held
    }


def page_name(version: str, module: str) -> str:
    """The page of a module in a version, within ``docs/messages``."""
    return f"{version}-{module}.md"


def message_page(message: Message) -> str:
    """One module of one version in full."""
    name, version = f"{message.module} {message.version.name}", message.version
    counts = " / ".join(str(count) for count in message.certainties().values())
    tree = "\n".join(_tree(message))
    classes = "\n".join(_class(one) for one in message.classes)
    return (
        f"# {name}\n\n{message.about['title']}. Data year {version.year} ({version.certainty}: {version.evidence}). "
        f"Made from the model by `make docs`; all messages: [messages.md](../messages.md).\n\n"
        f"Our schema `schemas/npr/{version.name}/{message.module}.xsd`, **not the official one**. Attributes that may "
        f"be sent, A / B / C: {counts}. Coded attributes take {_TAKEN[version.coded]}. "
        f"Types such as bydelNr: [shared types](../messages.md#shared-types).\n\n"
        f"## Tree\n\n```\n{tree}\n```\n\n## Attributes\n\n{classes}\n{_code_lists(message)}"
    )


def _links(model: Model, modules: list[str]) -> str:
    """Version by module, each a link to its page."""
    rows = [
        [version.name, str(version.year), *(_link(version, module) for module in modules)]
        for version in reversed(model.versions)
    ]
    return _table(" | ".join(["version", "data year", *modules]), rows)


def _link(version: Version, module: str) -> str:
    name = f"{module} {version.name}"
    return f"[{name}](messages/{page_name(version.name, module)})" if module in version.held else ""


def _code_lists(message: Message) -> str:
    """The lists that attributes of the message take, with the codes of the data year."""
    taken: dict[str, list[str]] = {}
    for one in message.classes:
        for attribute in one.attributes:
            if attribute.code_list:
                taken.setdefault(attribute.code_list, []).append(f"`{one.name}@{attribute.name}`")
    rows = [[number, *_about_list(number, message.version.year), ", ".join(taken[number])] for number in sorted(taken)]
    intro = (
        "Numbers of Volven, prefix 2.16.578.1.12.4.1.1. Sure: that the attribute takes this list. All codes with their "
        "texts and years: `schemas/codes/values.csv`."
    )
    return f"## Code lists\n\n{intro}\n\n{_table('list | name | sure | codes | taken by', rows)}" if rows else ""


def _about_list(number: str, year: int) -> tuple[str, str, str]:
    held = code_lists().get(number)
    if held is None:
        return "", "", "not held, so not checked"
    codes = [value.code for value in held.values if value.valid_in(year)]
    listed = ", ".join(codes) if len(codes) <= MOST_CODES else f"{len(codes)} codes, {codes[0]} to {codes[-1]}"
    return held.name_no, held.certainty, listed


def _table(head: str, rows: list[list[str]]) -> str:
    columns = head.count("|") + 1
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join([f"| {head} |", "|---" * columns + "|", *lines]) + "\n"


def _versions(model: Model) -> str:
    rows = [
        [str(v.year), v.name, v.certainty, v.evidence, v.encoding, _TAKEN[v.coded], ", ".join(v.held)]
        for v in model.versions
    ]
    head = "data year | version | sure | evidence | XSD file | coded attributes take | modules"
    return f"## Versions\n\nThe version follows the year of the data, never today's date.\n\n{_table(head, rows)}"


def _counts(model: Model, modules: list[str]) -> str:
    rows = [
        [version.name, *(_count(model, module, version) for module in modules)] for version in reversed(model.versions)
    ]
    intro = "Attributes that may be sent, at each place where their class stands: A / B / C. Empty: not held."
    return f"## How sure\n\n{intro}\n\n{_table(' | '.join(['version', *modules]), rows)}"


def _count(model: Model, module: str, version: Version) -> str:
    if module not in version.held:
        return ""
    return " / ".join(str(count) for count in model.message(module, version.name).certainties().values())


def _types(model: Model) -> str:
    found: dict[tuple[str, str], list[str]] = {}
    for version in model.versions:
        for one in model.shared_types(version.name):
            found.setdefault((one.name, _limits(one)), []).append(version.name)
    rows = [[name, limits, _span(versions)] for (name, limits), versions in sorted(found.items())]
    return f"## Shared types\n\n{_table('type | takes | versions', rows)}"


def _limits(one: SimpleType) -> str:
    return f"{one.base}; {', '.join(f'{name} `{value}`' for name, value in one.facets)}"


def _span(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


def _module(model: Model, module: str) -> str:
    versions = [version for version in model.versions if module in version.held]
    held = [version.name for version in versions]
    about = model.modules[module]
    facts = "\n".join(
        f"* {name}: {about[key]}"
        for name, key in (("Seen", "seen"), ("Reconstructed", "reconstructed"), ("Left out", "left_out"))
    )
    trees = " · ".join(_link(version, module) for version in reversed(versions))
    changes = [_change(model, model.message(module, old), model.message(module, new)) for old, new in pairwise(held)]
    return (
        f"## {module}: {about['title']}\n\nTrees and attributes: {trees}.\n\n"
        f"Officially, {about['public']}.\n\n{facts}\n\n" + "\n".join(reversed(changes))
    )


def _tree(message: Message) -> Iterator[str]:
    for path, child, _ in message.places():
        yield f"{'  ' * (len(path) - 1)}{child.name} {_occurs(child)} {child.fact.certainty}"


def _occurs(child: Child) -> str:
    most = "*" if child.max_occurs is None else str(child.max_occurs)
    return str(most) if most == str(child.min_occurs) else f"{child.min_occurs}..{most}"


def _class(one: ModelClass) -> str:
    rows = [
        [f"`{a.name}`", a.type, _use(a), a.code_list, a.fact.certainty, a.fact.source, a.fact.note]
        for a in one.attributes
    ]
    note = f": {one.fact.note}" if one.fact.note else ""
    keys = "".join(f"* {text}\n" for text in _keys(one).values())
    table = _table("attribute | type | use | code list | sure | source | note", rows)
    return f"**{one.name}** ({one.fact.certainty}, {one.fact.source}{note})\n\n{table}" + (f"\n{keys}" if keys else "")


def _type(one: AttributeRow) -> str:
    return f"list {one.code_list}" if one.type == CODED else one.type


def _use(one: AttributeRow) -> str:
    return f"required, fixed `{one.fixed}`" if one.fixed else one.use


def _keys(one: ModelClass) -> dict[str, str]:
    """Name -> what the constraint says."""
    return {
        key.name: f"`{key.selector}` {_says(key.kind)} {' and '.join(f'`{name}`' for name in key.fields)}"
        + (f" ({key.refer})" if key.refer else "")
        for key in one.keys
    }


def _says(kind: str) -> str:
    return "is unique by" if kind == "unique" else "refers to something that is there by"


def _change(model: Model, old: Message, new: Message) -> str:
    """What the newer version has changed, without the version itself and how sure things are."""
    before, after = _said(model, old), _said(model, new)
    rows = [
        [f"`{name}`", before.get(name, "none"), after.get(name, "none")]
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    ]
    rows += _codes(old, new)
    title = f"### {new.module} {old.version.name} → {new.version.name}\n\n"
    if not rows:
        return f"{title}No difference but the version itself.\n"
    return title + _table(f"where | {old.version.name} | {new.version.name}", rows)


def _said(model: Model, message: Message) -> dict[str, str]:
    """Everything that may differ between two versions, but for codes: where -> what is said there."""
    said = {"XSD file": message.version.encoding, "coded attributes": message.version.coded}
    said |= {"/".join(path): _occurs(child) for path, child, _ in message.places()}
    for one in message.classes:
        said |= {f"{one.name}@{attribute.name}": _words(attribute) for attribute in one.attributes}
        said |= {f"{one.name} {name}": text for name, text in _keys(one).items()}
    used = {attribute.type for one in message.classes for attribute in one.attributes}
    return said | {
        f"type {one.name}": _limits(one) for one in model.shared_types(message.version.name) if one.name in used
    }


def _words(one: AttributeRow) -> str:
    note = one.fact.note.partition("carried from")[0].rstrip("; ")
    use = "required, fixed to the version" if one.fixed else one.use
    return ", ".join(word for word in (_type(one), use, note) if word)


def _codes(old: Message, new: Message) -> list[list[str]]:
    """The codes that only one of them enumerates, where both enumerate any."""
    before, after = ({one.name: dict.fromkeys(value for _, value in one.facets) for one in m.lists} for m in (old, new))
    return [
        [f"`{name}`", _only(before[name], after[name]), _only(after[name], before[name])]
        for name in sorted(before.keys() & after.keys())
        if before[name] and after[name] and before[name] != after[name]
    ]


def _only(here: dict[str, None], there: dict[str, None]) -> str:
    own = [code for code in here if code not in there]
    return f"only here: {', '.join(own)}" if own else ""
