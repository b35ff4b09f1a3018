"""Content rules: from the catalogue to expressions and functions over class tables.

Belongs here: compiling rules against a layout (``plan``), rows with what stands above and below them (``rows``), and
functions for what one expression cannot say, by theme. Does not belong here: texts of rules (``schemas/rules``),
findings (``transforms.content.findings``).
"""
