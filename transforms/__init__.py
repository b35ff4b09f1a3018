"""Pure functions: frames in, frames or bytes out.

Belongs here: what happens to the data. Does not belong here: paths, clock, environment, randomness, Dagster.
"""
