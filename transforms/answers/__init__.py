"""Answers of the register: from the bytes of a file or mail to typed records.

Belongs here: taking mails and archives apart under limits, and a reader for each kind of answer: application receipts,
acknowledgments and errors of the transport, schema and content reports. All are pure: bytes in, records out. Does not
belong here: folders, passwords (they come as arguments), the ledger, and the source rows an error is about.

What comes in was written by others. Every reader is bounded in memory and refuses with DataRefused; none quotes what it
read.
"""
