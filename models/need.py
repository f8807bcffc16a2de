"""The whole definition of a need, read from one TOML file (contracts.md §2).

A need is either learned (``kind = "model"``) or written (``kind = "rule"``). Whatever is wrong in a file is said at
once: unknown keys, wrong types, impossible values, and what does not fit together. What the contracts name but is not
built yet is recognised, and refused when the need is to be used (:meth:`Need.require_built`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, PrivateAttr

from ethics.digests import sha256
from ethics.refusals import BadInput, Fault, parse_toml, shown, toml_of
from features.spec import (
    CohortSpec,
    Day,
    FeatureSpec,
    IndicatorSpec,
    LabelSpec,
    Said,
    Spec,
    Texts,
    column_names,
    require_built,
)
from models.need_misfits import misfits
from models.need_parts import (
    Baseline,
    Capacity,
    Limits,
    ListSettings,
    ModelSettings,
    Notice,
    Responsible,
    Rule,
    Splits,
)
from models.register_parts import Impact, Register
from models.written_order import OrderTerm

NEEDS = Path(__file__).parent / "needs"
SCHEMA = 1
Content = bytes  # inside Need the names `bytes` and `list` are its own


def _schema(value: Any) -> int:
    if type(value) is int and value == SCHEMA:
        return value
    raise ValueError(f"not a number of a schema | Write schema = {SCHEMA}, without quotes")


class Need(Spec):
    """One need, as its file defines it; ``id`` is the file's name and ``digest`` the SHA-256 of its bytes."""

    where_in_file: ClassVar[str] = "need"
    schema_: Annotated[int, BeforeValidator(_schema), Field(alias="schema")]
    kind: Literal["model", "rule"]
    service: Said
    use: Literal["outreach_ranking"]
    title: Texts
    question: Texts
    action: Texts
    benefit: Texts
    alternative: Texts
    owner: Responsible
    deputy: Responsible
    dpo: Responsible
    review_by: Day
    cohort: CohortSpec
    label: LabelSpec | None = None
    indicators: tuple[IndicatorSpec, ...] = ()
    features: tuple[FeatureSpec, ...]
    splits: Splits | None = None
    baseline: Baseline | None = None
    rule: Rule | None = None
    capacity: Capacity
    list: ListSettings = ListSettings()
    notice: Notice | None = None
    model: ModelSettings = ModelSettings()
    limits: Limits = Limits()
    register_: Annotated[Register | None, Field(alias="register")] = None
    impact: Impact | None = None
    _id: str = PrivateAttr(default="")
    _bytes: Content = PrivateAttr(default=b"")

    @property
    def id(self) -> str:
        """Name of the need: that of its file."""
        return self._id

    @property
    def digest(self) -> str:
        """SHA-256 of the file's bytes."""
        return sha256(self._bytes)

    @property
    def bytes(self) -> Content:
        """The file's bytes."""
        return self._bytes

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of its matrix, in order."""
        return column_names(self.features)

    @property
    def listed_k(self) -> int:
        """People on the list of one period: the attempts, shared by ``[list] attempts_per_person``."""
        return self.list.places(self.capacity.k)

    @property
    def reach(self) -> float:
        """Probability that somebody on the list is reached, at most (see :meth:`Capacity.reached_in`)."""
        return self.capacity.reached_in(1, self.list.attempts_per_person)

    @property
    def order(self) -> tuple[OrderTerm, ...]:
        """The written order: the rule itself, or the baseline that a model must beat."""
        written = self.rule.order if self.rule else self.baseline.rule if self.baseline else ()
        return tuple(written)

    def require_built(self) -> None:
        """Refuse what the file asks for that is recognised but not built yet, all at once.

        Raises
        ------
        SpecError
            ``<id>.toml: features 'absence'.measures: not built yet: 'trend'. Built: …``
        """
        parts = (self.cohort, self.label, *self.indicators, *self.features, self.list)
        require_built([part for part in parts if part is not None], f"{self.id}.toml")

    def review_fault(self, today: date) -> Fault | None:
        """What is wrong when the day of the next review has passed; None until its end."""
        if today <= self.review_by:
            return None
        mend = "Review the need with those who answer for it, and give the day of the next review"
        return Fault(f"{self.id}.toml: review_by", f"is {self.review_by}, which has passed ({today})", mend)

    def check_against(self, policy_limits: Mapping[str, float]) -> None:
        """Refuse limits that are looser than the policy's.

        Parameters
        ----------
        policy_limits : mapping
            ``max_reject_share`` (lower is stricter) and ``min_data_in_leaf`` (higher is stricter).
        """
        faults = []
        highest, smallest = policy_limits["max_reject_share"], policy_limits["min_data_in_leaf"]
        share, leaf = self.limits.max_reject_share, self.model.min_data_in_leaf
        if share is not None and share > highest:
            mend = f"Give at most {highest}, or leave it out"
            faults.append(Fault("limits.max_reject_share", f"is {share}, looser than the policy's {highest}", mend))
        if leaf is not None and leaf < smallest:
            mend = f"Give at least {smallest:g}, or leave it out"
            faults.append(Fault("model.min_data_in_leaf", f"is {leaf}, looser than the policy's {smallest:g}", mend))
        if faults:
            raise BadInput(*(fault._replace(where=f"{self.id}.toml: {fault.where}") for fault in faults))


def load_need(path: Path) -> Need:
    """Read a need file.

    Raises
    ------
    BadInput
        Everything that is wrong in it at once: ``<path>: <dotted key>: is <value>: …``.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", path.stem):
        mend = "Name the file with a–z, digits and _, e.g. youth_exclusion.toml; its name is the need's id"
        raise BadInput(Fault(str(path), f"'{path.stem}' cannot be the id of a need", mend))
    try:
        content = path.read_bytes()
    except OSError as error:
        known = ", ".join(sorted(p.stem for p in NEEDS.glob("*.toml"))) or "none"
        mend = f"Give the path of a need file. Needs that come with Ennakko: {known}"
        raise BadInput(Fault(str(path), f"cannot be read ({error.strerror})", mend)) from None
    return parse_need(content, str(path))


def parse_need(content: bytes, where: str, need_id: str | None = None) -> Need:
    """Read the bytes of a need file; ``need_id`` if ``where`` is not named by it. Raises as :func:`load_need`."""
    faults: list[Fault] = []
    need = None
    try:
        need = parse_toml(content, where, Need)
    except BadInput as refusal:
        faults += refusal.faults
    raw = toml_of(content, where)
    schema = raw.get("schema", SCHEMA)
    if type(schema) is int and schema != SCHEMA:  # written for another Ennakko, whose other keys we cannot judge
        mend = f"This Ennakko reads schema {SCHEMA}: copy an example from models/needs/ and move the values into it"
        raise BadInput(Fault(f"{where}: schema", f"is {shown(schema)}, which is not known", mend))
    faults += [fault._replace(where=f"{where}: {fault.where}") for fault in misfits(raw)]
    if faults or need is None:
        raise BadInput(*faults)
    need._id = need_id or Path(where).stem
    need._bytes = content
    return need


def list_needs(folder: Path = NEEDS) -> tuple[Need, ...]:
    """Every need of a folder, by id. Raises BadInput with the faults of all files at once."""
    needs: list[Need] = []
    faults: list[Fault] = []
    for path in sorted(folder.glob("*.toml")):
        try:
            needs.append(load_need(path))
        except BadInput as refusal:
            faults += refusal.faults
    if faults:
        raise BadInput(*faults)
    return tuple(needs)
