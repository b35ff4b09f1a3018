"""The sample hospital: invented people, courses and visits as tables of the extract contract, from a seed.

Belongs here: what the sample looks like, and faults planted in it. Does not belong here: writing files
(``pipelines.sample``).
"""
