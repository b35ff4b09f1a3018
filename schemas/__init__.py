"""Contracts as data, each fact with its source, and the readers of that data.

Belongs here: extract tables, XSDs, code lists, calendar, versions, receivers, typed records (settings, manifest),
and the errors everyone raises. Does not belong here: anything that reads a hospital's files, writes, knows Dagster
or decides about rows. Imports nothing else of this project.
"""
