"""The ledger: what is certain about every submission, kept so that a power cut at any moment loses nothing.

Belongs here: tables, migrations, transactions, the audit chain, the claim of a submission. Does not belong here: the
life of a part (``schemas.submission_states``) and what is done about it (``assets.dispatch``,
``pipelines.exchange.sending``).
"""
