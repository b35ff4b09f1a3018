"""What lies under NPR_HOME: stages and submissions, tables for analysts, calendars, code lists, schemas, the secret.

Belongs here: where a file is, how it becomes visible whole, who may read it. Does not belong here: what is in it.
"""
