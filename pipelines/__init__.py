"""Wiring: definitions, partitions, settings, the store on disk, channels and the command line.

Belongs here: everything that touches disk, clock, environment or Dagster's instance. Does not belong here: rules
about data.
"""
