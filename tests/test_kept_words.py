"""Words of an asker's choosing that are kept for years: none of them may name anybody."""

import pytest

from serving.http_door import _request_id


@pytest.mark.parametrize("own", ["0f" * 8, "A" * 32, "5c1b" * 16, "7d444840-9dc0-41d1-b245-5ffdce74fad2"])
def test_an_id_of_a_request_that_can_name_nobody_is_kept(own):
    assert _request_id({"x-request-id": own}) == own


@pytest.mark.parametrize("own", ["", "131052-308T", "000547", "sister.of.000547", "0f" * 7, "0f" * 33, "0f" * 8 + "\n"])
def test_any_other_word_is_no_id_of_a_request(own):
    made = _request_id({"x-request-id": own})
    assert made != own and len(made) == 16 and int(made, 16) >= 0
