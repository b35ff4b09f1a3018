"""The packaged contract agrees with itself, with the code lists and with the message model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from spec import CONTRACT

from schemas import contract as reader
from schemas.codelists import code_lists
from schemas.contract import TYPES, Column, Table, load_contract
from schemas.errors import WrongUse
from schemas.layouts import load_layout
from schemas.models import DTYPES, model

COLUMNS = [
    pytest.param(table, column, id=f"{table.name}.{column.name}") for table in CONTRACT for column in table.columns
]
TABLES = [pytest.param(table, id=table.name) for table in CONTRACT]
NODES = [pytest.param(node, id=node) for node in CONTRACT.classes]
MODULES = ("ord", "ide", "sbs")
# Without an XSD that we hold; their attributes cannot be looked up.
INTEGERS = {"integer", "int", "nonNegativeInteger", "positiveInteger"}
NOT_HELD = ("EpisodeKPP", "TjenesteKPP")


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_a_column_says_what_it_is(table: Table, column: Column) -> None:
    assert column.type in TYPES
    assert column.certainty in ("A", "B", "C")
    assert column.source
    assert column.description.endswith("."), f"{table.name}: a description is a sentence"
    assert (column.minimum is None) == (column.maximum is None), "a range has both ends"
    assert column.minimum is None or column.type == "integer"
    assert not column.pattern or column.type == "string"
    assert not column.code_list or column.code_list in code_lists()
    assert all(re.fullmatch(r"[A-ZÆØÅ][A-Za-zÆØÅæøå]*@[A-Za-zÆØÅæøå0-9]+", feed) for feed in column.feeds)
    if column.pattern:
        pl.Series([""]).str.contains(column.pattern)


@pytest.mark.parametrize("table", TABLES)
def test_keys_references_and_rules_name_columns_that_are_there(table: Table) -> None:
    assert set(table.key) <= {column.name for column in table.columns if column.required}
    assert len(set(table.names)) == len(table.names)
    for column, parent in table.refs.items():
        # References are by a key of one column, and of the same type.
        assert len(CONTRACT.tables[parent].key) == 1
        target = CONTRACT.tables[parent].column(CONTRACT.tables[parent].key[0])
        assert DTYPES[table.column(column).type] == DTYPES[target.type]
    assert table.owner is None or (table.owner in table.refs and table.column(table.owner).required)
    assert (table.owner is None) == (table.name in ("patients", "units"))
    for child in table.has:
        assert table.key[0] in CONTRACT.tables[child].refs
    for rule in table.rules:
        assert len(rule.columns) == {"both_or_none": 2, "any_of": 2, "not_before": 2}.get(rule.kind, len(rule.columns))
        assert bool(rule.group) == (rule.kind == "constant_within")


def test_parents_come_before_children_in_the_same_order_each_time() -> None:
    names = [table.name for table in CONTRACT]
    assert sorted(names) == sorted(CONTRACT.tables)
    assert names == [table.name for table in load_contract("1")]
    for table in CONTRACT:
        assert all(names.index(parent) < names.index(table.name) for parent in table.refs.values())


def test_only_identities_hold_a_national_number() -> None:
    assert [table.name for table in CONTRACT if table.identity] == ["identities"]
    holders = {table.name for table in CONTRACT for column in table.columns if column.name in ("fid", "typeID")}
    assert holders == {"identities"}


@pytest.mark.parametrize("node", NODES)
def test_a_class_takes_its_rows_from_columns_that_are_there(node: str) -> None:
    source = CONTRACT.classes[node]
    table = CONTRACT.tables[source.table]
    assert {*source.key, *source.parent, *source.order} <= set(table.names)
    assert set(source.key) <= {column.name for column in table.columns if column.required}
    assert source.skip_if_null is None or source.skip_if_null in table.names
    if source.unpivot:
        fed = table.feeding(node.rpartition("_")[2])
        assert source.unpivot.attribute in fed
        assert {column for column in table.names if table.refs.get(column) == "units"} == set(source.unpivot.columns)
        assert set(source.unpivot.columns.values()) <= {value.code for value in code_lists()["8476"].values}


@pytest.mark.parametrize("module", MODULES)
def test_a_row_finds_its_parent_by_the_whole_key_of_the_parent(module: str) -> None:
    layout = load_layout(module, "54.0.1")
    for node in layout.nodes:
        source = CONTRACT.classes.get(node.id)
        if source is None or not source.parent:
            continue
        assert node.parent is not None
        # A part of the key could name several parents, and rows would double.
        assert source.parent == CONTRACT.classes[node.parent].key


def _feeds() -> Iterator[tuple[str, str, Column]]:
    for table in CONTRACT:
        for column in table.columns:
            for feed in column.feeds:
                npr_class, _, attribute = feed.partition("@")
                yield npr_class, attribute, column


def test_every_attribute_that_a_column_feeds_is_in_the_model_with_a_type_that_fits() -> None:
    fitting = {
        "string": {"string"},
        # Some lists have numbers for codes, and the model says so.
        "code": {"string", *INTEGERS},
        "integer": INTEGERS,
        "decimal": {"decimal"},
        "date": {"date"},
        "datetime": {"dateTime"},
    }
    nodes = [node for module in MODULES for node in load_layout(module, "54.0.1").nodes]
    types = {(node.name, attribute.name): attribute.type for node in nodes for attribute in node.attributes}
    for npr_class, attribute, column in _feeds():
        if npr_class not in NOT_HELD:
            kind = types[npr_class, attribute]
            assert kind in fitting[column.type], f"{npr_class}@{attribute}"
            if column.code_list and kind in INTEGERS:
                assert all(value.code.isdecimal() for value in code_lists()[column.code_list].values), attribute


def test_every_class_that_a_column_feeds_has_rows() -> None:
    made = {node.rpartition("_")[2] for node in CONTRACT.classes}
    assert {npr_class for npr_class, _, _ in _feeds()} <= made


@pytest.mark.parametrize("table", TABLES)
def test_a_table_has_a_pandera_model_of_its_columns(table: Table) -> None:
    made = model(table, (2020,))
    assert tuple(made.columns) == table.names
    assert made.strict is True
    assert [name for name, column in made.columns.items() if not column.nullable] == [
        column.name for column in table.columns if column.required
    ]


@pytest.mark.parametrize("version", ["2", "", "../extract/v1", "1/../v1"])
def test_another_version_is_refused_with_those_there_are(version: str) -> None:
    with pytest.raises(WrongUse, match="no extract contract") as refused:
        load_contract(version)
    assert refused.value.fix == "one of 1"


HEADER = "table,column,type,required,unit,code_list,pattern,min,max,max_length,feeds,certainty,source,description\n"
KEY = "things,key,string,yes,,,,,,,,C,test,Key.\n"


@pytest.mark.parametrize(
    ("columns", "tables", "word"),
    [
        # a type nobody knows
        ("things,key,text,yes,,,,,,,,C,test,Key.\n", "", "type of things.key"),
        # a code without its list
        (KEY + "things,a,code,no,,,,,,,,C,test,A.\n", "", "type of things.a"),
        # a list without being a code
        (KEY + "things,a,string,no,,3101,,,,,,C,test,A.\n", "", "type of things.a"),
        # a reference and a rule that name columns which are not there
        (KEY, 'refs = { b = "things" }', "does not have"),
        (KEY, 'rules = [{ id = "X", kind = "any_of", columns = ["c"] }]', "does not have"),
        # columns of a table that is not described
        (KEY + "more,key,string,yes,,,,,,,,C,test,Key.\n", "", "the same tables"),
    ],
)
def test_a_contract_that_does_not_agree_with_itself_is_a_bug(
    columns: str, tables: str, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / f"v{len(columns)}-{len(tables)}"
    folder.mkdir()
    version = folder.name.removeprefix("v")
    described = f'version = "{version}"\n[things]\ntitle = "Things"\ndelivery = "required"\nkey = ["key"]\n{tables}\n'
    (folder / "columns.csv").write_text(HEADER + columns, encoding="utf-8")
    (folder / "tables.toml").write_text(described, encoding="utf-8")
    (folder / "classes.toml").write_text("", encoding="utf-8")
    monkeypatch.setattr(reader, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match=word):
        load_contract.__wrapped__(version)


def test_a_column_is_as_sure_as_the_least_sure_attribute_it_feeds() -> None:
    """The XSD says how sure we are of an attribute; the contract repeats it for its readers and may not say more."""
    sure: dict[str, str] = {}
    for module in ("ord", "ide", "sbs"):
        for node in load_layout(module, "54.0.1").nodes:
            for attribute in node.attributes:
                feed = f"{node.name}@{attribute.name}"
                sure[feed] = max(attribute.certainty, sure.get(feed, "A"))
    for table in load_contract():
        for column in table.columns:
            known = [sure[feed] for feed in column.feeds if feed in sure]
            if known:
                assert column.certainty == max(known), f"{table.name}.{column.name}"
