"""The schema of the table of jobs, one step a file; see :mod:`serving.migrations`."""
