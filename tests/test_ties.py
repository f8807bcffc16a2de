import hashlib
import hmac
from datetime import date

from models.ties import tie_keys


def test_a_tie_key_is_the_hmac_of_person_model_and_date():
    expected = [
        hmac.new(b"secret", f"{person}|m1|2024-01-31".encode(), hashlib.sha256).hexdigest() for person in ("a", "b")
    ]
    assert tie_keys(b"secret", ["a", "b"], "m1", date(2024, 1, 31)) == expected


def test_the_order_it_gives_changes_with_secret_model_and_date_and_not_with_company():
    people = [str(n) for n in range(50)]
    keys = tie_keys(b"secret", people, "m1", date(2024, 1, 31))
    assert tie_keys(b"secret", people[::-1], "m1", date(2024, 1, 31)) == keys[::-1]
    others = [
        tie_keys(b"other", people, "m1", date(2024, 1, 31)),
        tie_keys(b"secret", people, "m2", date(2024, 1, 31)),
        tie_keys(b"secret", people, "m1", date(2024, 2, 1)),
    ]
    ranks = [sorted(range(50), key=each.__getitem__) for each in (keys, *others)]
    assert len({tuple(rank) for rank in ranks}) == 4
