"""Many messages under one key: the hashes of the standard library, for keys and messages of every length."""

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ethics.keyed_hashing import KeyedHash


@given(st.binary(max_size=200), st.lists(st.binary(max_size=200)), st.binary(max_size=80))
def test_the_hashes_are_those_of_the_standard_library(key, messages, begin):
    expected = [hmac.digest(key, begin + message, "sha256") for message in messages]
    assert list(KeyedHash(key, begin).digests(messages)) == expected


@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 200])
def test_keys_at_the_length_of_a_block(length):
    key = b"k" * length
    assert KeyedHash(key).digest(b"message") == hmac.digest(key, b"message", "sha256")
    assert "k" * 8 not in repr(KeyedHash(key))
