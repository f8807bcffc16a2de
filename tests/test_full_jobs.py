"""The table of jobs in PostgreSQL: the cases of SQLite once more."""

import pytest
import test_full_stores
from job_cases import *  # noqa: F403 the cases shared with SQLite

pytestmark = pytest.mark.full
server, engine = test_full_stores.server, test_full_stores.engine
