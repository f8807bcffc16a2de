"""The schema of serving's own tables, one step a file.

:func:`scoring.store_opening.migrate` runs the steps a database lacks. A step, once released, is never edited: a change
is a new file with the next number.
"""
