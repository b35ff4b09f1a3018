"""From text as delivered to rows of the period: decoded, typed, checked, related, counted.

Belongs here: what is true of rows of the extract contract. Does not belong here: NPR's classes, and what NPR would do
with a record (``transforms.content``).
"""
