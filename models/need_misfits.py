"""What does not fit together between the parts of a need file, each of which may be right by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from ethics.refusals import BadInput, Fault, did_you_mean
from features.spec import FeatureSpec, IndicatorSpec, LabelSpec, column_names
from models.need_parts import Baseline, Capacity, Contraindication, Helper, ListSettings, ModelSettings, Rule

Part = TypeVar("Part")
Told = Helper | Contraindication
"""What a list tells beside its reasons, from events."""
_ADULT = 18


def _readable(kind: type[Part], value: Any) -> Part | None:
    """A part of the file read on its own, so that a mistake in one part does not hide one in another."""
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError:
        return None  # the schema has said why


def _entries(kind: type[Part], value: Any) -> list[Part | None]:
    return [_readable(kind, entry) for entry in value] if isinstance(value, list) else []


def misfits(raw: Mapping[str, Any]) -> list[Fault]:
    """What is wrong between the parts of a need file."""
    features = _entries(FeatureSpec, raw.get("features"))
    faults = _kind_misfits(raw)
    if "features" in raw and not features:
        faults.append(Fault("features", "holds no feature", "Add at least one [[features]] table"))
    faults += _indicator_misfits(raw, [f for f in features if f])
    faults += _list_misfits(raw)
    if None in features:
        return faults  # which columns there are is not known, so nothing can be said about their use
    try:
        columns = column_names([f for f in features if f])
    except BadInput as refusal:
        return faults + list(refusal.faults)
    categorical = [feature.name for feature in features if feature and feature.categories]
    return faults + _order_misfits(raw, columns) + _monotone_misfits(raw, columns, categorical)


def _kind_misfits(raw: Mapping[str, Any]) -> list[Fault]:
    needed, refused = {
        "model": (("label", "splits", "baseline"), ("rule",)),
        "rule": (("rule",), ("model", "splits", "baseline")),
    }.get(str(raw.get("kind")), ((), ()))
    kind = f'a need of kind "{raw.get("kind")}"'
    faults = [Fault(key, "is missing", f"Add it: {kind} has one") for key in needed if key not in raw]
    faults += [Fault(key, f"has no meaning in {kind}", "Leave it out, or change kind") for key in refused if key in raw]
    if raw.get("kind") == "rule" and raw.get("indicators") and "label" not in raw:
        faults.append(Fault("indicators", "look at the window of a label, and there is none", "Add [label]"))
    cohort = raw.get("cohort")
    if isinstance(cohort, Mapping) and "prior_outcome" in cohort and "label" not in raw:
        faults.append(Fault("cohort.prior_outcome", "looks for the codes of a label, and there is none", "Add [label]"))
    return faults


def _list_misfits(raw: Mapping[str, Any]) -> list[Fault]:
    """What ``[list]`` asks for that capacity, cohort or its own other keys do not allow."""
    settings, capacity = _readable(ListSettings, raw.get("list", {})), _readable(Capacity, raw.get("capacity"))
    if settings is None:
        return []
    faults = []
    if capacity is not None and settings.attempts_per_person > capacity.k:
        wrong = f"is {settings.attempts_per_person}, above the {capacity.k} attempts of a period: a list would be empty"
        faults.append(Fault("list.attempts_per_person", wrong, "Give fewer attempts per person, or more capacity"))
    if capacity is not None and settings.churn_cap < 1 and settings.cooldown_days > capacity.period_days:
        wrong = (
            f"is {settings.churn_cap:g}, and who was listed rests for {settings.cooldown_days} days: nobody on the "
            f"list before could be on the next ({capacity.period_days} days later)"
        )
        faults.append(Fault("list.churn_cap", wrong, "Leave one of churn_cap and cooldown_days out"))
    if settings.helpers and "who_helps" not in settings.columns:
        wrong = "say who helps, and no column of the list shows it"
        faults.append(Fault("list.helpers", wrong, "Add 'who_helps' to [list] columns, or leave the helpers out"))
    faults += _hidden_sources(raw, settings)
    cohort = raw.get("cohort")
    ages = cohort.get("age") if isinstance(cohort, Mapping) else None
    if settings.merge == "guardian" and isinstance(ages, list) and len(ages) == 2 and ages[1] >= _ADULT:
        wrong = f"is 'guardian', and the cohort holds people up to {ages[1]}: grown-ups answer for themselves"
        faults.append(Fault("list.merge", wrong, 'Write merge = "none", or a cohort of children'))
    return faults


def _hidden_sources(raw: Mapping[str, Any], settings: ListSettings) -> list[Fault]:
    """What a list tells of events of a feature that the service may not see: it would say what its reasons hide."""
    service = raw.get("service")
    hidden = [
        feature
        for feature in _entries(FeatureSpec, raw.get("features"))
        if feature is not None and feature.visible_to and service not in feature.visible_to
    ]
    told: dict[str, Sequence[Told]] = {"helpers": settings.helpers, "contraindications": settings.contraindications}
    return [
        Fault(
            f"list.{key}[{i}].codes",
            f"reads events of feature '{feature.name}', which '{service}' may not see",
            "Take these codes out, or let the service see the feature (visible_to)",
        )
        for key, entries in told.items()
        for i, entry in enumerate(entries)
        for feature in features_behind(entry.codes, hidden)
    ]


def features_behind(codes: Iterable[str], features: Iterable[FeatureSpec]) -> list[FeatureSpec]:
    """The features that read some event which these codes (patterns that may end in a star) match too."""
    patterns = tuple(codes)
    return [one for one in features if any(_overlap(a, b) for a in patterns for b in one.codes)]


def _indicator_misfits(raw: Mapping[str, Any], features: list[FeatureSpec]) -> list[Fault]:
    label = _readable(LabelSpec, raw.get("label"))
    taken = [("the label", label.codes)] if label else []
    taken += [(f"feature '{feature.name}'", feature.codes) for feature in features]
    faults: list[Fault] = []
    names: Counter[str] = Counter()
    for i, indicator in enumerate(_entries(IndicatorSpec, raw.get("indicators"))):
        if indicator is None:
            continue
        names[indicator.name] += 1
        if names[indicator.name] == 2:
            faults.append(Fault(f"indicators[{i}].name", f"'{indicator.name}' comes twice", "Give each its own name"))
        for whose, codes in taken:
            for code, other in ((a, b) for a in indicator.codes for b in codes if _overlap(a, b)):
                wrong = f"'{code}' overlaps '{other}' of {whose}, so '{indicator.name}' is not an independent sign"
                faults.append(Fault(f"indicators[{i}].codes", wrong, "Use codes that nothing else in the need uses"))
    return faults


def _overlap(a: str, b: str) -> bool:
    """Whether some code matches both patterns, of which only the last sign may be a star."""
    stem_a, stem_b = a.removesuffix("*"), b.removesuffix("*")
    if a.endswith("*"):
        return stem_b.startswith(stem_a) or (b.endswith("*") and stem_a.startswith(stem_b))
    return a == b or (b.endswith("*") and a.startswith(stem_b))


def _order_misfits(raw: Mapping[str, Any], columns: Iterable[str]) -> list[Fault]:
    rule, baseline = _readable(Rule, raw.get("rule")), _readable(Baseline, raw.get("baseline"))
    written = [("rule.order", rule.order)] if rule else []
    written += [("baseline.rule", baseline.rule)] if baseline else []
    return [
        Fault(where, f"'{term.column}' is not a column of the features", did_you_mean(term.column, columns))
        for where, order in written
        for term in order
        if term.column not in columns
    ]


def _monotone_misfits(raw: Mapping[str, Any], columns: Iterable[str], categorical: Collection[str]) -> list[Fault]:
    table = raw.get("model")
    settings = _readable(ModelSettings, {"monotone": table.get("monotone", {})}) if isinstance(table, dict) else None
    patterns = settings.monotone if settings else {}
    faults = [
        Fault(f"model.monotone.'{pattern}'", "matches no column of the features", did_you_mean(pattern, columns))
        for pattern in patterns
        if not any(fnmatchcase(column, pattern) for column in columns)
    ]
    for column in columns:
        matching = {pattern: sign for pattern, sign in patterns.items() if fnmatchcase(column, pattern)}
        if len(set(matching.values())) > 1:
            wrong = f"{' and '.join(map(repr, matching))} send '{column}' both ways"
            faults.append(Fault("model.monotone", wrong, "Let one column match patterns of one direction"))
    for pattern in patterns:
        for column in sorted(categorical):
            if fnmatchcase(column, pattern):
                wrong = f"matches '{column}', whose values are categories without an order"
                faults.append(Fault(f"model.monotone.'{pattern}'", wrong, "Name columns of numbers only"))
    return faults
