"""Who is at either end: keys, certificates and addresses, ours and those of others.

Belongs here: finding them in files and in the Address Register, and whom to believe. Does not belong here: the rules a
certificate is held against (``transforms.shipping.certificates``).
"""
