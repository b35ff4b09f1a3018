"""Generated pages of the documentation, as text.

Belongs here: words and tables made from contracts and catalogues. Does not belong here: writing them
(``pipelines.docs``).
"""
