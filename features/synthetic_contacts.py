"""Contact data of the invented city: drawn from a stream of chance of its own, so that nothing else in it changes.

Written here and read by the contact book of outreach alone, after ranking: nothing in this package opens it. Nobody
has these names, and no Finnish number begins as the invented ones do.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pyarrow as pa

from features.synthetic_residents import LANGUAGES, YEAR_DAYS, Residents
from features.synthetic_world import EXTRACT_DAY

CONTACTS_FILE = "contacts.parquet"
OTHER_LANGUAGES = ("ru", "et", "so", "ar", "en")
"""Contact languages of the group "other"; interpreters are asked for all but the last."""
OTHER_SHARES = (0.3, 0.2, 0.15, 0.2, 0.15)
OF_AGE, OWN_PHONE_AGE = 18, 15
INTERPRETER_SHARE, NO_PHONE, SECRECY_ORDER = 0.4, 0.05, 0.004
CHANNELS = ("digital", "phone", "letter", "visit")
_STREAM = 1_107
"""Keeps these draws apart from those of the blocks' own generators and of the pre-school places."""


def contact_table(
    seed: int, block: int, ids: Sequence[str], first: int, residents: Residents, secret: Collection[str]
) -> pa.Table:
    """The rows of one block.

    Parameters
    ----------
    seed, block : int
    ids : sequence of str
        Person ids of the block, in order.
    first : int
        Persons in the blocks before.
    residents : Residents
    secret : collection of str
        Children under a secrecy order by the early education register: their whole household has one here too.
    """
    rng = np.random.default_rng([seed, _STREAM, block])
    n = len(ids)
    names = np.array(ids, dtype=object)
    age = (EXTRACT_DAY - residents.birth_day) / YEAR_DAYS
    other = residents.language == LANGUAGES.index("other")
    foreign = rng.choice(len(OTHER_LANGUAGES), n, p=OTHER_SHARES)[residents.household]  # a household has one language
    language = np.where(other, np.array(OTHER_LANGUAGES)[foreign], np.array(LANGUAGES)[residents.language])
    needs_one = rng.random(n) < INTERPRETER_SHARE
    draws = rng.random((2, n))
    # The older, the rarer are digital services; who does not use them prefers a call, a letter or a visit.
    uses_digital = draws[0] < np.clip(1.05 - np.maximum(age - 30, 0) / 80, 0.2, 0.95)
    offline = rng.choice(3, n, p=(0.6, 0.25, 0.15)) + 1
    channel = np.array(CHANNELS)[np.where(uses_digital, 0, offline)]
    has_phone = (draws[1] >= NO_PHONE) & (age >= OWN_PHONE_AGE)
    numbers = [f"+358 000 {number:07d}" for number in range(first + 1, first + n + 1)]
    home = residents.household
    has_guardian = (age < OF_AGE) & (home != np.arange(n)) & (age[home] >= OF_AGE)
    under_order = rng.random(n) < SECRECY_ORDER
    under_order |= np.isin(np.array(ids), list(secret))
    homes_under_order = np.zeros(n, np.bool_)
    homes_under_order[home[under_order]] = True
    columns = {
        "person_id": pa.array(ids),
        "name": pa.array([f"Person {person}" for person in ids]),
        "channel": pa.array(channel),
        "phone": pa.array(numbers, mask=~has_phone),
        "language": pa.array(language),
        "interpreter": pa.array(other & (language != "en") & needs_one),
        "guardian": pa.array(names[home], type=pa.string(), mask=~has_guardian),
        "secrecy_order": pa.array(homes_under_order[home]),
    }
    return pa.table(columns)
