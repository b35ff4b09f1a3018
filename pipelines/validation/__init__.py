"""Validation of message files, whoever made them, in bounded memory.

Belongs here: reading a file through the controls of its version. Does not belong here: the controls
(``schemas/controls``), and checking what this program makes on its way (``assets.messages``).
"""
