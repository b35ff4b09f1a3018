"""Thin Dagster assets, one module per stage: read, call a transform, write, report metadata.

Belongs here: the order of reading and writing, and the figures shown in Dagster. Does not belong here: rules about data
(``transforms``), paths and settings (``pipelines``). What a stage needs of the outside is named in ``assets.ports``.
"""
