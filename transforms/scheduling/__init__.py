"""What is due, what a scheduler starts, and the matrix of states: pure functions of calendar, ledger and date.

Belongs here: the rules of due dates and starts, drafts of a calendar. Does not belong here: the machine's own ledger,
clock and extracts (``pipelines.scheduling``).
"""
