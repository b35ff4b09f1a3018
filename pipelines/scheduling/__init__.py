"""What is due, what runs next, and what stands in the way: the calendar put before this machine's ledger and extracts.

Belongs here: schedules, sensors, the scheduler they ask, the matrix of states, notices of it. Does not belong here:
rules of the calendar (``transforms.scheduling.due``, ``transforms.scheduling.starting``), and running anything.
"""
