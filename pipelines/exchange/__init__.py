"""What goes out and what comes back: approving and handing over, answers, the passport of a submission.

Belongs here: the acts behind the commands and sensors around sending. Does not belong here: a channel, the ledger, and
the gates of a hand-over (``assets.dispatch``).
"""
