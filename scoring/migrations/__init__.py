"""The store's schema, one step a file; :func:`scoring.store_opening.migrate` runs the steps a database lacks.

A step, once released, is never edited: a change of :mod:`scoring.store_tables` is a new file with the next number.
"""
