"""The message model itself: its XSDs as text, versions held against each other, what a layout asks for.

Belongs here: what can be said of a layout before there is a record. Does not belong here: the model (``schemas/npr``).
"""
