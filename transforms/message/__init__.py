"""From rows in scope to the bytes of a message: class tables, and their rendering by the layout of the XSD.

Belongs here: names, order and text of a message. Does not belong here: judging it, and what goes around it.
"""
