"""What of a report NPR would keep, and whether it may go: findings, decisions, the guard, comparison with earlier ones.

Belongs here: judging records and reports. Does not belong here: faults of an extract (``transforms.extract``), the form
of a message (``transforms.validation``), the rules themselves (``schemas/rules``, compiled by ``transforms.rules``).
"""
