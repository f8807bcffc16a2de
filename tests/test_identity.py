"""What an identity may see: as a table, with everything that is not granted denied."""

import pytest

from serving.identity import Identity, NotAllowed, Role, Unseen

PEOPLE = {
    "a unit": Identity("s", "i", Role.UNIT, needs=frozenset({"youth"}), units=frozenset({"kallio"})),
    "a unit without a need": Identity("s", "i", Role.UNIT, units=frozenset({"kallio"})),
    "a unit with a star": Identity("s", "i", Role.UNIT, needs=frozenset({"*"}), units=frozenset({"*"})),
    "a system": Identity("s", "i", Role.SYSTEM, needs=frozenset({"youth"})),
    "a system for all": Identity("s", "i", Role.SYSTEM, needs=frozenset({"*"})),
    "a system for none": Identity("s", "i", Role.SYSTEM),
    "an auditor": Identity("s", "i", Role.AUDITOR),
    "an auditor of one need": Identity("s", "i", Role.AUDITOR, needs=frozenset({"care"})),
    "a data scientist": Identity("s", "i", Role.DATA_SCIENTIST),
    "a resident": Identity("s", "i", Role.RESIDENT, person_id="000123"),
    "a resident by profile": Identity("s", "i", Role.RESIDENT),
    "a service point": Identity("s", "i", Role.SERVICE_POINT),
    "nobody": Identity("s", "i", None, frozenset({"youth", "*"}), frozenset({"kallio"}), "000123"),
}
# need youth, need care, list youth/kallio, youth/vuosaari, care/kallio, person 000123, person 000124
MAY = {
    "a unit": "1010000",
    "a unit without a need": "0000000",
    "a unit with a star": "0000000",
    "a system": "1011000",
    "a system for all": "1111100",
    "a system for none": "0000000",
    "an auditor": "1100000",
    "an auditor of one need": "0100000",
    "a data scientist": "1100000",
    "a resident": "1100010",
    "a resident by profile": "1100000",
    "a service point": "1100011",
    "nobody": "0000000",
}


def refused(require, *asked):
    try:
        require(*asked)
    except Unseen as refusal:
        assert refusal.status == 404
        assert not any(word in str(refusal) for word in ("youth", "care", "kallio", "vuosaari", "000123", "000124"))
        return "0"
    return "1"


@pytest.mark.parametrize("who", PEOPLE)
def test_each_sees_their_own_and_nothing_else(who):
    one = PEOPLE[who]
    found = [
        refused(one.require_need, "youth"),
        refused(one.require_need, "care"),
        refused(one.require_list, "youth", "kallio"),
        refused(one.require_list, "youth", "vuosaari"),
        refused(one.require_list, "care", "kallio"),
        refused(one.require_person, "000123"),
        refused(one.require_person, "000124"),
    ]
    assert "".join(found) == MAY[who]


@pytest.mark.parametrize("who", PEOPLE)
@pytest.mark.parametrize("role", Role)
def test_a_role_opens_its_own_door(who, role):
    one = PEOPLE[who]
    if one.role is role:
        one.require_role([role, Role.AUDITOR])
    else:
        with pytest.raises(NotAllowed) as refusal:
            one.require_role([role])
        assert refusal.value.status == 403
    with pytest.raises(NotAllowed, match="this is for nobody"):
        one.require_role([])


def test_nothing_shows_who_it_is():
    one = Identity("131052-308T", "https://login.example.fi", Role.RESIDENT, person_id="000123")
    assert repr(one) == str(one) == f"{one!s}" == "Identity(resident)"
    mark = one.mark(b"key")
    assert len(mark) == 64
    assert mark != one.mark(b"another key") != Identity("131052-308T", "https://other.example").mark(b"key")
