"""Commands of ``npr``, one module for each group of them, and what they print.

Belongs here: arguments, asking for what a command does, words for a person. Does not belong here: doing it; commands
import that when they run, so that help is there at once.
"""
