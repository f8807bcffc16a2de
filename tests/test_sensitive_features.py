"""Words that no model may read, in three languages; innocent words and needs that are shipped stay what they are."""

import tomllib
from pathlib import Path

import pytest

from ethics.sensitive_features import forbidden_name, is_health

ROOT = Path(__file__).resolve().parent.parent
FORBIDDEN_WORDS = """
henkilötunnus henkilotunnus hetu personnummer sukunimi etunimi surname lastname firstname last_name first_name
katuosoite gatuadress home_address uskonto uskonnollinen_yhdyskunta trossamfund religion religious_community
ammattiliitto ammattiliiton_jäsen fack fackförbund trade_union kansalaisuus nationality citizenship medborgarskap
etninen_tausta etnicitet ethnicity seksuaalinen_suuntautuminen sexuell_läggning sexual_orientation
födelseland fodelseland birthplace country_of_birth syntymämaa valokuva photo foto vapaateksti fritext free_text
puolue parti political_party politisk_åsikt rikos rikosrekisteri brott brottsregister crime crime.reports.* criminal
person.surname register.kansalaisuus status.nationality
"""
INNOCENT_WORDS = """
appointment appointment.missed departure departments participation apartment apartment_size sexton age district
moved_away unionised_transport partial_payment particulate facility factor faculty photocopier nimike criteria
school.absence.* username_count renamed housing.moved etäisyys part_time
"""
HEALTH_WORDS = """
mielenterveys psykiatria psykiatrisk_vård psychiatry diagnosis diagnoosi sairaus sjukdom lääkitys medication
medicin läkemedel illness care.visit.*
"""


@pytest.mark.parametrize("name", FORBIDDEN_WORDS.split())
def test_a_forbidden_word_is_known_in_three_languages(name):
    assert forbidden_name([name]) == name


@pytest.mark.parametrize("name", INNOCENT_WORDS.split())
def test_an_innocent_word_that_looks_like_one_is_not(name):
    assert forbidden_name([name]) is None and not is_health([name])


@pytest.mark.parametrize("name", HEALTH_WORDS.split())
def test_health_is_known_in_three_languages(name):
    assert is_health([name]) and forbidden_name([name]) is None


def names_in(value):
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "codes":
                yield from inner
            elif key == "attribute":
                yield inner
            else:
                yield from names_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from names_in(inner)


def test_no_need_that_is_shipped_reads_a_forbidden_word():
    needs = [*ROOT.glob("models/needs/*.toml"), *ROOT.glob("tests/needs/*.toml")]
    assert len(needs) >= 5
    for need in needs:
        names = list(names_in(tomllib.loads(need.read_text("utf-8"))))
        assert names and forbidden_name(names) is None, need.name
