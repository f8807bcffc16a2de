"""What an auditor would miss in a need file that is otherwise valid; and what only the city's data can tell of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from math import ceil
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from ethics.policy_floor import FLOOR
from ethics.refusals import toml_of
from ethics.sensitive_features import forbidden_name, is_dual_use, is_health
from models.need_parts import MARK, places_by_lot, written
from models.register_parts import Impact, Register

if TYPE_CHECKING:
    from features.city import City
    from models.need import Need

Weight = Literal["blocks", "attest", "weak"]
MEANING: Mapping[Weight, str] = {
    "blocks": "training or the gate refuses it, and nothing lifts that",
    "attest": "somebody has to vouch for it by a signed statement",
    "weak": "an auditor will ask",
}
_FEW_TESTS = 3
_SOON_DAYS = 90
_LATE_SHARE = 0.95
_FEWEST_PEOPLE = 1000
_UNATTESTED = "to be attested"
_USE_OR_COST = re.compile(r"(?:^|[._:-])(cost\w*|bill\w*|price|euro\w*|visit\w*|contact\w*|spend\w*)(?:$|[._:*-])")


class Remark(NamedTuple):
    """One thing an auditor would miss.

    ``check`` is the gate's check, or the attestation, that it leads to; empty where none does.
    """

    weight: Weight
    where: str
    missing: str
    mend: str
    check: str = ""


def review_need(need: Need, today: date) -> list[Remark]:
    """What an auditor would miss in the file alone, heaviest first.

    Parameters
    ----------
    need : Need
        Valid: everything that is *wrong* was said by :func:`models.need.load_need`.
    today : date
    """
    found = [*_marks(need), *_features(need), *_label(need), *_validation(need), *_people(need, today)]
    found += [*_lots(need), *_openness(need)]
    return sorted(found, key=lambda remark: list(MEANING).index(remark.weight))


def review_in_city(need: Need, city: City) -> tuple[list[Remark], dict[str, Any]]:
    """What the city's data tell of a need: codes that never occur, delays, sizes.

    Returns
    -------
    (remarks, facts)
        Facts are counts: ``as_of_dates``, ``mature``, ``latest``, ``eligible`` (on that day), ``in_need_share``.

    Raises
    ------
    BadInput
        Nobody is eligible, or the cohort asks for what the city does not have.
    """
    from features.attributes import attributes_of
    from features.cohort import as_of_dates, build_cohort
    from features.label import build_label
    from features.matrix import unseen_codes

    specs = [spec for spec in (need.cohort, need.label, *need.indicators, *need.features) if spec is not None]
    remarks = [Remark("weak", fault.where, fault.wrong, fault.mend) for fault in unseen_codes(city, specs)]
    known = {*attributes_of(city), "age"}
    held = need.splits.hold_out if need.splits else None
    if held is not None and held not in known:
        mend = f"The city has: {', '.join(sorted(known))}"
        remarks.append(Remark("blocks", "splits.hold_out", f"'{held}' is not an attribute of this city", mend))
    for feature in need.features:
        if feature.attribute is not None and feature.attribute not in known:
            mend = f"The city has: {', '.join(sorted(known))}"
            remarks.append(Remark("blocks", f"features '{feature.name}'", "is not an attribute of this city", mend))
    days = as_of_dates(city, need.cohort)
    ahead = need.label.horizon_days + need.label.reporting_delay_days if need.label else 0
    mature = [day for day in days if day + timedelta(days=ahead) <= city.extract_date]
    facts: dict[str, Any] = {"as_of_dates": len(days), "mature": len(mature)}
    remarks += _dates(need, len(days), len(mature), city)
    if not mature:
        return remarks, facts
    keys = build_cohort(city, need.cohort, [mature[-1]], label=need.label)
    facts |= {"latest": str(mature[-1]), "eligible": keys.height}
    remarks += _sizes(need, keys.height)
    if need.label is not None:
        y = build_label(city, keys, need.label)
        share = facts["in_need_share"] = float(np.nanmean(y)) if np.isfinite(y).any() else None
        if share in (0.0, 1.0):
            told = "nobody" if share == 0 else "everybody"
            mend = "Mend the label's codes or its bound"
            remarks.append(Remark("blocks", "label", f"{told} is in need after {mature[-1]}: nothing to learn", mend))
        remarks += _delay(need, city)
    return remarks, facts


def _marks(need: Need) -> Iterator[Remark]:
    """Texts still to be written, gathered by the part of the file they stand in."""
    parts: dict[str, list[str]] = {}
    for where, text in _texts(toml_of(need.bytes, f"{need.id}.toml"), ""):
        if text.startswith(MARK):
            part, _, key = where.partition(".")
            parts.setdefault(part, []).append(key)
    for part, keys in parts.items():
        yield Remark("blocks", part, f"still to be written: {', '.join(keys)}", f'Put a text in place of "{MARK} …"')


def _texts(value: Any, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(inner, f"{where}.{key}" if where else key)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _texts(inner, f"{where}[{i}]")


def _features(need: Need) -> Iterator[Remark]:
    unattested, special = [], []
    for feature in need.features:
        if feature.special_category or is_health((feature.attribute or "", *feature.codes), feature.source):
            special.append(feature.name)
        where = f"features '{feature.name}'"
        if missing := [key for key in ("plain", "source", "purpose", "basis") if not getattr(feature, key)]:
            yield Remark("blocks", where, f"has no {', '.join(missing)}", "State what it is and why it is read", "C601")
        if word := forbidden_name((feature.attribute or "", *feature.codes)):
            mend = "Leave it out: it may be measured as a group, never read by a model"
            yield Remark("blocks", where, f"reads '{word}', which is on the list of what no model may read", mend)
        if (feature.basis or "").lower().startswith(_UNATTESTED):
            unattested.append(feature.name)
        if not feature.visible_to:
            mend = "Name the services that may read reasons from it in visible_to"
            yield Remark("weak", where, "is visible to nobody, so its reasons stay hidden from the unit", mend)
        if is_dual_use(feature.attribute or "") and feature.attribute != "age":
            mend = "Expect to show what changes when it is flipped; sex only for a health need (AT-03)"
            yield Remark("attest", where, f"'{feature.attribute}' is also a group to be protected", mend, "C410")
    if special:
        mend = "Have the lawyer and the data protection officer vouch for each by name (AT-03), or leave it out"
        yield Remark("attest", "features", f"tell of health or the like: {_few(special)}", mend, "C602")
    if unattested:
        mend = "Let a lawyer confirm the legal basis of each register for this use"
        yield Remark("attest", "features: basis", f"is not attested yet for {_few(unattested)}", mend, "AT-02")


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _label(need: Need) -> Iterator[Remark]:
    if need.label is None:
        mend = "Without a label nobody can be shown to be missed; selection rates stay (AT-07)"
        yield Remark("attest", "label", "is missing, so fairness cannot be tested", mend, "C401")
        return
    if words := [code for code in need.label.codes if _USE_OR_COST.search(code)]:
        mend = "Prefer an outcome recorded alike for everyone; show who is listed under each label"
        wrong = f"{', '.join(words)} records use or spending: who is served less would look less in need"
        yield Remark("attest", "label.codes", wrong, mend, "C404")
    if len(need.indicators) < 2:
        have = "one indicator" if need.indicators else "no indicator"
        mend = "Add two independent signs of need, recorded alike for everyone"
        yield Remark("attest", "indicators", f"{have}: whether the label measures need cannot be tested", mend, "AT-05")
    if not need.label.censored_by:
        mend = 'Name the codes, e.g. censored_by = ["death", "moved_away"]'
        yield Remark("weak", "label.censored_by", "is empty: those who left count as followed to the end", mend)
    excludes = need.cohort.prior_outcome is not None or any(
        set(rule.codes) & set(need.label.codes) for rule in need.cohort.without
    )
    if need.cohort.table is None and not excludes:
        mend = "Set cohort.prior_outcome, or say why those already in need belong to the cohort"
        yield Remark("weak", "cohort", "does not leave out those in whom the need has appeared already", mend)


def _validation(need: Need) -> Iterator[Remark]:
    if need.splits is None:
        return
    if need.splits.kind == "person":
        mend = 'Use kind = "temporal"'
        yield Remark("blocks", "splits.kind", "is a split of persons, which is measured and never approved", mend)
    elif need.splits.tests < _FEW_TESTS:
        mend = f"Test on {_FEW_TESTS} dates or more where the extract allows it"
        yield Remark("weak", "splits.tests", f"is {need.splits.tests}: nothing shows how steady the model is", mend)
    if not need.model.monotone:
        mend = 'Set model.monotone for columns where more can only mean more need, e.g. { "absence.*" = 1 }'
        yield Remark("weak", "model.monotone", "fixes no direction, so a reason may point the wrong way", mend)


def _people(need: Need, today: date) -> Iterator[Remark]:
    if need.notice is None:
        mend = "Give the phone number and the letter by which people are told and object"
        yield Remark("weak", "notice", "is missing: people without digital services cannot object", mend, "C801")
    if today + timedelta(days=_SOON_DAYS) > need.review_by >= today:
        yield Remark("weak", "review_by", f"is {need.review_by}, within {_SOON_DAYS} days", "Plan the review")
    dead = [who for who in ("owner", "deputy", "dpo") if getattr(need, who).email.endswith("example.invalid")]
    if dead:
        yield Remark("weak", "e-mail", f"of {', '.join(dead)} reaches nobody", "Give addresses that somebody reads")


def _lots(need: Need) -> Iterator[Remark]:
    """Whether enough people are drawn by lot for need that the order misses to be seen."""
    least = FLOOR["thresholds.min_exploration"][1]
    places, margin = need.list.places(need.capacity.k), need.list.margin
    drawn = places_by_lot(margin, places) + need.list.sample
    if drawn < least * places:
        mend = (
            f"Draw {ceil(least * places)} from below the line ([list] sample), or let AT-08 give the reasons for none"
        )
        yield Remark("attest", "list.sample", f"has {drawn} people drawn by lot for {places} places", mend, "C407")
    if margin > least:
        mend = f"Give at most {least:g}, or let AT-08 give the reasons"
        yield Remark("attest", "list.margin", f"gives {margin:g} of the places by lot", mend, "C407")


def _openness(need: Need) -> Iterator[Remark]:
    """What the register entry and the impact assessments still lack; marked texts are told elsewhere."""
    missing = (need.register_ or Register()).missing()
    if missing:
        mend = "Write what the city's AI register is to say; docs/need-file.md explains each key"
        yield Remark("blocks", "register", f"has no {', '.join(missing)}", mend, "C201")
    read = {feature.source for feature in need.features if feature.source and written(feature.source)}
    unnamed = sorted(source for source in read if need.register_ and source not in need.register_.sources)
    if unnamed:
        mend = "Give their names in fi, sv and en, so that the entry can be read in every language"
        yield Remark("weak", "register.sources", f"does not name {', '.join(unnamed)}", mend, "C203")
    unanswered = (need.impact or Impact()).missing()
    if unanswered:
        mend = "Answer them; the drafts of the impact assessments name what is missing"
        yield Remark("attest", "impact", f"does not answer {', '.join(unanswered)}", mend, "C502")


def _dates(need: Need, n_days: int, n_mature: int, city: City) -> Iterator[Remark]:
    """Whether enough dates are mature to learn and to test."""
    if not n_mature:
        mend = "Shorten the horizon, start the cohort earlier, or use a later extract"
        wrong = f"none of the {n_days} dates is mature by the extract date {city.extract_date}"
        yield Remark("blocks", "label.horizon_days", wrong, mend)
    elif need.splits is not None and need.splits.kind == "temporal" and need.splits.tests >= n_mature:
        wrong = f"is {need.splits.tests}, and {n_mature} dates are mature: none is left to learn from"
        yield Remark("blocks", "splits.tests", wrong, "Test fewer dates, or start the cohort earlier")


def _sizes(need: Need, eligible: int) -> Iterator[Remark]:
    if eligible <= need.listed_k:
        mend = "Contact everybody; no order is needed"
        yield Remark("weak", "capacity", f"a list of {need.listed_k} for {eligible:,} eligible people", mend)
    if eligible < _FEWEST_PEOPLE:
        mend = "Widen the cohort, pool dates, or use a rule"
        wrong = f"has {eligible:,} people on the latest mature day: differences between groups can hardly be shown"
        yield Remark("weak", "cohort", wrong, mend, "C401")


def _delay(need: Need, city: City) -> Iterator[Remark]:
    """Whether the label's codes are known as early as the file says."""
    from features.arrays import DAY_US
    from features.event_log import matches

    assert need.label is not None
    log = city.events
    wanted = np.array([matches(code, need.label.codes) for code in log.codes], dtype=bool)
    rows = wanted[log.code]
    if log.known is None or not rows.any():
        return
    late = (log.known[rows] - log.time[rows]) / DAY_US
    days = float(np.quantile(late, _LATE_SHARE))
    if days > need.label.reporting_delay_days:
        mend = f"Set reporting_delay_days = {int(np.ceil(days))}"
        wrong = f"is {need.label.reporting_delay_days}, and 5 % of these events become known only after {days:.0f} days"
        yield Remark("weak", "label.reporting_delay_days", wrong, mend, "C103")
