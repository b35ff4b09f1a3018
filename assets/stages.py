"""The stages as Dagster assets, and the checks that show their figures.

Belongs here: one asset per stage in their order, metadata (figures, digests, column schema; never a value of a row),
asset checks. Does not belong here: what a stage does (its own module).
"""

# No postponed annotations here: Dagster reads the type of `context` when it builds an asset.
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg
from pydantic import BaseModel

from assets import dispatch, findings, fragments, identity, messages, scope, shipments, snapshot, staging
from assets.accounts import accounts
from assets.manifests import insist_bytes
from assets.ports import Run, Workbench
from schemas.contract import Table, load_contract
from schemas.errors import Bug, DataRefused, NprError, of_system
from schemas.records import (
    Delivery,
    Findings,
    FragmentSet,
    Manifest,
    MessageSet,
    Scoped,
    Snapshot,
    Staged,
    digest,
)

Metadata = dict[str, Any]
ORDER = (
    "extract_snapshot",
    "staging_tables",
    "scope_decisions",
    "message_tables",
    "content_findings",
    "patient_fragments",
    "shipments",
    "dispatch",
)
GROUPS = dict(
    zip(ORDER, ("extract", "staging", "scope", "message", "finding", "shipment", "shipment", "sending"), strict=True)
)
"""Asset -> group of Dagster's pages: the layer its tables lie in."""


def assets(partitions: dg.PartitionsDefinition[str], code_version: str) -> list[dg.AssetsDefinition]:
    """The eight assets over the given partitions, each downstream of the one before."""
    work: dict[str, tuple[Callable[[Run], BaseModel], Callable[[Any], Metadata], str]] = {
        "extract_snapshot": (snapshot.take, _of_snapshot, "The extract, frozen and hashed."),
        "staging_tables": (staging.stage, _of_staging, "Typed rows that hold the contract; the rest in quarantine."),
        "scope_decisions": (scope.scope, _of_scope, "Which rows the period reports, and why not the others."),
        "message_tables": (messages.messages, _of_messages, "One table per NPR class and module."),
        "content_findings": (findings.findings, _of_findings, "What NPR would say of the content."),
        "patient_fragments": (fragments.fragments, _of_fragments, "The XML of each patient."),
        "shipments": (shipments.shipments, _of_shipments, "Valid, packed parts below the limit, and the manifest."),
        "dispatch": (dispatch.dispatch, _of_dispatch, "Handed to the channel of the profile."),
    }
    before = dict(zip(ORDER[1:], ORDER[:-1], strict=True))
    return [_asset(name, *work[name], before.get(name), partitions, code_version) for name in ORDER]


def _asset(
    name: str,
    stage: Callable[[Run], BaseModel],
    describe: Callable[[Any], Metadata],
    description: str,
    upstream: str | None,
    partitions: dg.PartitionsDefinition[str],
    code_version: str,
) -> dg.AssetsDefinition:
    @dg.asset(
        name=name,
        deps=[upstream] if upstream else [],
        partitions_def=partitions,
        code_version=code_version,
        description=description,
        group_name=GROUPS.get(name, "report"),
        required_resource_keys={"workbench"},
    )
    def body(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
        workbench: Workbench = context.resources.workbench
        record = _without_values(stage, workbench.open(context.partition_key))
        version = dg.DataVersion(digest(record.model_dump(mode="json"))[:20])
        return dg.MaterializeResult(metadata=describe(record), data_version=version)

    return body


def _without_values(stage: Callable[[Run], BaseModel], run: Run) -> BaseModel:
    """Run a stage; what it raises reaches Dagster's event log without any text but our own."""
    try:
        return stage(run)
    except NprError as refused:
        raise refused from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a panic in Polars is no Exception, and can quote a value too
        raise of_system(error) or Bug(error) from None


def _of_snapshot(record: Snapshot) -> Metadata:
    return {
        "snapshot": record.id,
        "source_system": record.source_system,
        "environment": record.environment,
        "dagster/row_count": sum(file.rows for file in record.files),
        "files": dg.MetadataValue.table(
            [
                dg.TableRecord(
                    {
                        "table": file.table,
                        "rows": file.rows,
                        "format": file.format,
                        "encoding": file.encoding,
                        "separator": file.separator,
                        "decided": file.decided,
                        "sha256": file.sha256,
                    }
                )
                for file in record.files
            ]
        ),
    }


def _of_staging(record: Staged) -> Metadata:
    schema = {f"schema {table.name}": table_schema(table) for table in load_contract() if not table.identity}
    return {
        "dagster/row_count": sum(record.rows.values()),
        "quarantined": {name: rules for name, rules in record.quarantined.items() if rules},
        "dagster/column_schema": table_schema(load_contract().tables["episodes"]),
        **schema,
    }


def table_schema(table: Table) -> dg.TableSchema:
    """Column names, types and descriptions of a contract table, for Dagster's pages."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                column.type,
                description=f"{column.description} {' '.join(column.feeds)} ({column.certainty})",
                constraints=dg.TableColumnConstraints(nullable=not column.required),
            )
            for column in table.columns
        ]
    )


def _of_scope(record: Scoped) -> Metadata:
    return {
        "dagster/row_count": sum(record.reported.values()),
        "reported": record.reported,
        "out_of_scope": {name: reasons for name, reasons in record.out_of_scope.items() if reasons},
    }


def _of_messages(record: MessageSet) -> Metadata:
    return {
        "dagster/row_count": sum(sum(module.rows.values()) for module in record.modules),
        "rows": {
            f"{module.schema_use.module} {node}": n for module in record.modules for node, n in module.rows.items()
        },
        "schemas": [module.schema_use.model_dump() for module in record.modules],
        "dagster/column_lineage": column_lineage(record),
    }


def column_lineage(record: MessageSet) -> dg.TableColumnLineage:
    """Which staged column each attribute comes from, by the contract."""
    deps: dict[str, list[dg.TableColumnDep]] = {}
    for table in load_contract():
        for column in table.columns:
            for feed in column.feeds:
                staged = f"{table.name}.{column.name}"
                deps.setdefault(feed, []).append(dg.TableColumnDep(dg.AssetKey("staging_tables"), staged))
    classes = {node.rpartition("_")[2] for module in record.modules for node in module.rows}
    return dg.TableColumnLineage({feed: found for feed, found in deps.items() if feed.partition("@")[0] in classes})


def _of_findings(record: Findings) -> Metadata:
    return {
        "dagster/row_count": sum(record.by_rule.values()),
        "by_rule": record.by_rule,
        "nprid_reg": record.nprid_reg,
        **record.by_consequence,
        "under_dropped_records": record.under,
        "not_checked_against_a_list": record.unchecked,
        "does_not_speak": record.silent,
    }


def _of_fragments(record: FragmentSet) -> Metadata:
    return {
        f"{module.module} {name}": sum(getattr(batch, name) for batch in module.batches)
        for module in record.modules
        for name in ("patients", "bytes")
    }


def _of_shipments(record: Manifest) -> Metadata:
    columns = ("module", "part", "parts", "patients", "packed_bytes", "limit_bytes", "sha256")
    parts = [dg.TableRecord({name: getattr(part, name) for name in columns}) for part in record.shipments]
    return {
        "submission": record.submission,
        "profile": record.profile,
        "shipments": dg.MetadataValue.table(parts),
        "packed_bytes": sum(part.packed_bytes for part in record.shipments),
        "messages": {message.module: message.sha256 for message in record.messages},
        "inputs": {file.table: file.sha256 for file in record.snapshot.files},
    }


def _of_dispatch(record: Delivery) -> Metadata:
    return {"submission": record.submission, "channel": record.channel, "files": len(record.files)}


def checks(partitions: dg.PartitionsDefinition[str]) -> list[dg.AssetChecksDefinition]:
    """What the stages have insisted on already, shown as checks of each partition."""
    return [
        _check("scope_decisions", "rows_add_up", _rows_add_up, partitions),
        _check("content_findings", "identity_covers_activity", _same_patients, partitions),
        _check("shipments", "parts_below_limit", _below_limit, partitions),
        _check("shipments", "parts_valid", _parts_valid, partitions),
    ]


def _check(
    asset: str,
    name: str,
    judge: Callable[[Run], tuple[bool, Mapping[str, Any]]],
    partitions: dg.PartitionsDefinition[str],
) -> dg.AssetChecksDefinition:
    def body(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        workbench: Workbench = context.resources.workbench
        try:
            passed, metadata = judge(workbench.open(context.partition_key))
        except DataRefused as refused:
            passed, metadata = False, {"refused": refused.what}
        return dg.AssetCheckResult(passed=passed, metadata=dict(metadata))

    with warnings.catch_warnings():
        # Partitions on checks are in preview in 1.13; without them a page shows only the latest of all periods.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        made = dg.asset_check(
            asset=asset, name=name, blocking=True, partitions_def=partitions, required_resource_keys={"workbench"}
        )
        return made(body)


def _rows_add_up(run: Run) -> tuple[bool, Mapping[str, Any]]:
    found = accounts(run)
    return True, {name: account.model_dump() for name, account in found.items()}


def _same_patients(run: Run) -> tuple[bool, Mapping[str, Any]]:
    made = run.store.load("messages", run.key, MessageSet)
    identity.insist_same_patients(run, made)
    return True, {module.schema_use.module: module.patients for module in made.modules}


def _below_limit(run: Run) -> tuple[bool, Mapping[str, Any]]:
    parts = run.store.load("manifest", run.key, Manifest).shipments
    largest = max(part.packed_bytes for part in parts)
    return all(p.packed_bytes <= p.limit_bytes for p in parts), {"largest": largest, "limit": parts[0].limit_bytes}


def _parts_valid(run: Run) -> tuple[bool, Mapping[str, Any]]:
    """Every part was valid when it was made, and what lies in the folder is still that part."""
    manifest = run.store.load("manifest", run.key, Manifest)
    insist_bytes(run, manifest)
    faults = sum(part.schema_faults for part in manifest.shipments)
    return faults == 0, {"parts": len(manifest.shipments), "faults": faults}
