"""From a message to shipments: split at patients, head message, encryption, signature, mail, and their exact sizes.

Belongs here: bytes that leave, and certificates that may stand on them. Does not belong here: handing over.
"""
