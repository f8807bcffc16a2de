"""Words of scoring: the same keys in fi, sv and en, no English left, and every sentence passes the check of leaks."""

import re
import tomllib
from datetime import date
from types import SimpleNamespace

import numpy as np
import pytest

from ethics.list_checks import _is_composed
from features.spec import ATTRIBUTE_MEASURES, FeatureSpec
from features.windows import MEASURES
from scoring.list_evidence import reason_words
from scoring.reason_sentences import columns_of
from scoring.reason_words import MESSAGES, Words, placeholders

TEXTS = {path.stem: Words(tomllib.loads(path.read_text("utf-8"))).texts for path in MESSAGES.glob("*.toml")}
NAMES_AND_NUMBERS = re.compile(r"[\W\d_]*")
ENGLISH = {"the", "of", "and", "is", "are", "was", "this", "that", "with", "not", "none", "people", "values", "days"}
SAME_IN_SWEDISH = {"list.person", "list.column_person", "list.banner_demonstration"}
PLAIN = {"fi": "poissaolot koulusta", "sv": "frånvaro från skolan", "en": "absences from school"}
WINDOWS = (1, 90, (90, 1365), "1mo", "12mo", "ever")
FEATURES = (
    FeatureSpec(
        name="absence", codes=["a"], windows=WINDOWS, measures=[*MEASURES, "decay_180d", "quantile_90"], plain=PLAIN
    ),
    FeatureSpec(
        name="area", codes=["a"], windows=WINDOWS, measures=["rate"], of="district", plain=PLAIN, purpose="x", basis="x"
    ),
    FeatureSpec(attribute="home", categories=["Kallio"], measures=ATTRIBUTE_MEASURES, plain=PLAIN),
    FeatureSpec(attribute="income", plain=PLAIN),
    FeatureSpec(attribute="age", plain=PLAIN),
)


def test_the_languages_are_those_of_the_city():
    assert set(TEXTS) == {"fi", "sv", "en"}


@pytest.mark.parametrize("language", ["fi", "sv"])
def test_every_key_of_english_is_there_with_its_names_and_no_more(language):
    assert {key: placeholders(text) for key, text in TEXTS[language].items()} == {
        key: placeholders(text) for key, text in TEXTS["en"].items()
    }


@pytest.mark.parametrize("language", ["fi", "sv"])
def test_no_english_is_left(language):
    for key, text in TEXTS[language].items():
        said = re.sub(r"\{\w+\}", "", text)
        assert not ENGLISH & set(re.findall(r"\w+", said.lower())), key
        if NAMES_AND_NUMBERS.fullmatch(said) or (language == "sv" and key in SAME_IN_SWEDISH):
            continue
        assert text != TEXTS["en"][key], key


def test_days_and_numbers_are_written_as_each_language_writes_them():
    day = date(2025, 3, 4)
    assert [Words.of(language).day(day) for language in ("fi", "sv", "en")] == ["4.3.2025", "4.3.2025", "4 March 2025"]
    numbers = {language: [Words.of(language).number(x) for x in (1234.0, 7.25, 0.0512)] for language in TEXTS}
    assert numbers["en"] == ["1,234", "7.25", "0.0512"]
    assert numbers["fi"] == numbers["sv"] == ["1\xa0234", "7,25", "0,0512"]


def test_the_space_inside_a_number_survives_in_a_sentence():
    assert "1\xa0234 kertaa" in columns_of(FEATURES[0])[0].sentence(1234.0, np.nan, "fi")


@pytest.mark.parametrize("language", ["fi", "sv", "en"])
def test_every_sentence_of_every_measure_passes_the_check_of_leaks(language):
    known = reason_words(SimpleNamespace(features=FEATURES), language)
    told = set()
    for feature in FEATURES:
        for column in columns_of(feature):
            for value in (
                (np.nan, 0.0)
                if column.measure == "category"
                else (
                    np.nan,
                    -2.5,
                    0.0,
                    4.2e-6,
                    1.0,
                    2.0,
                    41_234.25,
                )
            ):
                for typical in (np.nan, -0.5, 0.0, 4.2e-6, 1.0, 1234.0):
                    text = column.sentence(value, typical, language)
                    told.add(Words.of(language)("reasons.lowers", sentence=text))
    assert len(told) > 200
    for text in told:
        assert _is_composed(text, set(known)), text
        assert "nan" not in text.split()
        assert "0000" not in text, "no number is told more exactly than somebody reads it"
        assert "{" not in text


@pytest.mark.parametrize(
    ("language", "j", "value", "typical", "text"),
    [
        ("fi", 0, 3, 0, "poissaolot koulusta: 3 kertaa viimeisen päivän aikana (muilla yleensä ei yhtään)"),
        ("sv", 0, 1, 2, "frånvaro från skolan: 1 gång under den senaste dagen (hos andra oftast 2)"),
        ("fi", 0, 0, 2, "poissaolot koulusta: ei kertaakaan viimeisen päivän aikana (muilla yleensä 2)"),
        ("en", 0, 3, 0, "absences from school: 3 in the last day (typical here: none)"),
    ],
)
def test_a_count_reads_as_somebody_would_say_it(language, j, value, typical, text):
    assert columns_of(FEATURES[0])[j].sentence(value, typical, language) == text
