"""Any message file judged: opened under limits, cut into pieces, each held against schema, keys and controls.

Belongs here: pure pieces of ``npr validate``, whoever made the file. Does not belong here: files and processes
(``pipelines.validation``).
"""
