"""Imports of outcomes in PostgreSQL: several at once lose nothing."""

import pytest
import test_full_stores
from outcome_cases import *  # noqa: F403 the cases shared with SQLite

pytestmark = pytest.mark.full
server, engine = test_full_stores.server, test_full_stores.engine


@pytest.fixture
def database_url(server, engine):
    return server
