import pytest

from ethics.digests import canonical_json, code_digest, decimal, sha256


def test_canonical_json_sorts_keys_and_refuses_floats():
    assert canonical_json({"b": [1, None], "a": "ä"}) == '{"a":"ä","b":[1,null]}'.encode()
    with pytest.raises(TypeError, match=r"float 0\.5"):
        canonical_json({"a": [{"b": 0.5}]})


def test_decimals_are_the_same_text_everywhere():
    assert [decimal(x) for x in (1 / 3, 0.0, 1e-9, 123456789.0)] == ["0.333333", "0", "1e-09", "1.23457e+08"]


def test_the_code_digest_sees_one_changed_byte_but_no_need_and_no_policy(tmp_path):
    for name in ("ethics/gate.py", "ethics/policy.toml", "models/needs/a.toml", "scoring/messages/en.toml"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("one")
    before = code_digest(tmp_path)
    (tmp_path / "ethics/policy.toml").write_text("two")
    (tmp_path / "models/needs/a.toml").write_text("two")
    assert code_digest(tmp_path) == before
    (tmp_path / "scoring/messages/en.toml").write_text("two")
    assert code_digest(tmp_path) != before


def test_sha256_is_the_published_one():
    assert sha256(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
