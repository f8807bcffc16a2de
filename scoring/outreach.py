"""The outreach list: as long as the service's capacity, cut per unit, checked by the gate, frozen."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ethics.case import SORT_KEY
from ethics.digests import canonical_json, sha256
from ethics.refusals import BadInput, Fault, NotTrusted, did_you_mean
from features.cohort import build_cohort
from models.rescoring import rescoring
from scoring.list_evidence import Surroundings, list_facts
from scoring.list_gate import ask_gate
from scoring.reason_jitter import reason_stability
from scoring.reasons import Reason, Typical, Words, explain
from scoring.row_hashes import RowKeys, payload_text, row_hash
from scoring.scorer import sort_key_of
from scoring.units import split_capacity, unit_of_persons, units_of

if TYPE_CHECKING:
    from ethics.gate import Check, Policy
    from ethics.objections import ObjectionRegister
    from ethics.stop_switch import StopSwitch
    from features.city import City
    from models.need import Need
    from scoring.contacts import ContactBook
    from scoring.scorer import Scorer, Scores

OBJECTED = "objected"
LISTED_RECENTLY = "listed recently"
UNIT_NOT_KNOWN = "unit not known"
ROWS = "rows.parquet"
"""File of a written list: who was on it, with each row's salted hash, for recall, cool-down and proof."""

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


@dataclass(frozen=True)
class ListRow:
    """One person on a unit's list.

    ``rank`` counts from 1 within the unit; ``row_hash`` is salted with the person's salt and covers all the rest;
    ``kind`` tells why the row is there: ranked, carried, sample, margin or added.
    """

    rank: int
    person_id: str
    rank_band: str
    reasons: tuple[Reason, ...]
    row_hash: str = ""
    kind: str = "ranked"

    @property
    def payload(self) -> dict[str, Any]:
        """What the row shows beyond place and band: JSON values, decimals as strings. The store keeps it."""
        return {"reasons": [why.facts() for why in self.reasons]}

    def hashed(self, unit_id: str, key: bytes) -> ListRow:
        """The same row with its hash under the person's key."""
        said = {"person_id": self.person_id, "rank_band": self.rank_band, "payload": payload_text(self.payload)}
        return replace(self, row_hash=row_hash(key, unit_id=unit_id, position=self.rank, kind=self.kind, **said))


@dataclass(frozen=True)
class UnitPart:
    """One unit's part of a list.

    Attributes
    ----------
    unit_id, name : str
    k : int
        Its share of the service's capacity in the period.
    eligible_n : int
        People of its districts who were ranked and have not objected.
    rows : tuple of ListRow
        The first ``k`` of them.
    """

    unit_id: str
    name: str
    k: int
    eligible_n: int
    rows: tuple[ListRow, ...]

    @property
    def below_n(self) -> int:
        """People of the unit below the line."""
        return self.eligible_n - len(self.rows)

    @property
    def file_name(self) -> str:
        """A name for its files that every file system takes; two units never share one."""
        plain = re.sub(r"[^A-Za-z0-9_-]+", "_", self.unit_id)
        return plain if plain == self.unit_id else f"{plain}-{sha256(self.unit_id.encode())[:8]}"


@dataclass(frozen=True)
class OutreachList:
    """A frozen list of the people a service may contact in one period, in parts for its units.

    Attributes
    ----------
    list_id : str
        Unique, and later lists sort after earlier ones.
    list_digest : str
        SHA-256 over what the list says (:meth:`said`), each row salted with the person's salt; without ``list_id``.
    capacity_k : int
        Contacts of the whole service in the period.
    cohort_n : int
        People the need covers; the sum of those listed, below the line, and excluded.
    excluded : mapping
        Reason → people of the cohort who are on no list for it.
    checks : tuple of Check
        What the gate found about this list.
    banners : tuple of str
        ``"demonstration"``, ``"invented"``: what every page says at its top.
    """

    list_id: str
    list_digest: str
    need: Need
    as_of_date: date
    capacity_k: int
    cohort_n: int
    parts: tuple[UnitPart, ...]
    excluded: Mapping[str, int]
    model_digest: str
    verdict_id: str
    expires_at: str
    matrix_digest: str
    checks: tuple[Check, ...] = field(repr=False)
    banners: tuple[str, ...] = ()
    language: str = "en"
    reason_stability: Mapping[str, Any] | None = None
    """What :func:`scoring.reason_jitter.reason_stability` found of this list; None for a rule."""

    @property
    def listed(self) -> int:
        """People on the list."""
        return sum(len(part.rows) for part in self.parts)

    @property
    def below(self) -> int:
        """People ranked below their unit's line."""
        return sum(part.below_n for part in self.parts)

    def part(self, unit_id: str) -> UnitPart:
        """One unit's part, or a refusal that names the units."""
        for part in self.parts:
            if part.unit_id == unit_id:
                return part
        mend = did_you_mean(unit_id, [part.unit_id for part in self.parts])
        raise BadInput(Fault("unit", f"'{unit_id}' is not a unit here", mend))

    def rows(self, parts: Sequence[UnitPart] | None = None) -> pl.DataFrame:
        """Who is listed: ``unit_id``, ``rank``, ``person_id``, ``rank_band``, ``row_hash``."""
        rows = [
            (part.unit_id, row.rank, row.person_id, row.rank_band, row.row_hash)
            for part in (self.parts if parts is None else parts)
            for row in part.rows
        ]
        texts = dict.fromkeys(("person_id", "rank_band", "row_hash"), pl.String)
        return pl.DataFrame(rows, schema={"unit_id": pl.String, "rank": pl.UInt32, **texts}, orient="row")

    def said(self) -> dict[str, Any]:
        """What ``list_digest`` is over. Rows enter as keyed hashes, so it betrays nobody."""
        return {
            "schema": "ennakko-list/1",
            "model": self.model_digest,
            "need": self.need.digest,
            "matrix": self.matrix_digest,
            "as_of_date": self.as_of_date.isoformat(),
            "capacity_k": self.capacity_k,
            "excluded": dict(self.excluded),
            "parts": [
                {
                    "unit_id": part.unit_id,
                    "k": part.k,
                    "eligible_n": part.eligible_n,
                    "rows": [row.row_hash for row in part.rows],
                }
                for part in self.parts
            ],
        }

    def facts(self) -> dict[str, Any]:
        """What can be said of the list without saying who is on it."""
        return {
            "list_id": self.list_id,
            "list_digest": self.list_digest,
            "need": self.need.id,
            "service": self.need.service,
            "as_of_date": self.as_of_date.isoformat(),
            "capacity_k": self.capacity_k,
            "cohort_n": self.cohort_n,
            "listed": self.listed,
            "below": self.below,
            "excluded": dict(self.excluded),
            "units": [
                {"unit_id": p.unit_id, "k": p.k, "eligible_n": p.eligible_n, "listed": len(p.rows)} for p in self.parts
            ],
            "sort_key": list(SORT_KEY),
            "model_digest": self.model_digest,
            "matrix_digest": self.matrix_digest,
            "verdict_id": self.verdict_id,
            "verdict_expires_at": self.expires_at,
            "checks": {check.id: check.state for check in self.checks},
            "language": self.language,
            "reason_stability": None if self.reason_stability is None else dict(self.reason_stability),
        }

    def write(self, folder: Path, unit: str | None = None, contacts: ContactBook | None = None) -> tuple[Path, ...]:
        """Write ``folder/<list_id>/``: the files of each unit (or of one) and ``list.json``; whole, or nothing.

        Returns
        -------
        tuple of Path
            The files.
        """
        from scoring.list_files import write_files

        return write_files(self, folder, unit, contacts)


def outreach_list(
    scores: Scores,
    scorer: Scorer,
    city: City,
    *,
    objections: ObjectionRegister,
    policy: Policy,
    stop_switch: StopSwitch,
    resting: Collection[str],
    surroundings: Surroundings,
    row_keys: RowKeys,
    issued_at: datetime,
    language: str = "en",
) -> OutreachList:
    """Cut a ranking at the service's capacity, unit by unit, explain it, and let the gate judge it.

    Parameters
    ----------
    scores : Scores
        From ``scorer``.
    city : City
        The city that was scored, for its units and districts.
    objections : ObjectionRegister
        Asked again: who objected since the scores were made is on no list.
    policy : Policy
    stop_switch : StopSwitch
    resting : collection of str
        Persons to leave in peace for now, see :func:`recently_listed`.
    surroundings : Surroundings
        The groups of the city, the cells of the verdict and what lies stored: what the gate compares the list with.
    row_keys : callable
        Person ids → keys of their row hashes: :meth:`scoring.store.Store.row_keys`.
    issued_at : datetime
        Now, with a timezone.
    language : str

    Raises
    ------
    Blocked, NotTrusted
        The gate blocks the list, or could not judge it; there is then no list.
    """
    Words.of(language)
    need = scorer.need
    if scores.model_digest != scorer.model.digest:
        raise BadInput(Fault("scores", "were made by another model than the scorer's", "Score with this scorer"))
    units = units_of(city, need)
    ranked = scores.frame.join(unit_of_persons(city, units, scores), on="person_id", how="left", maintain_order="left")
    objecting = pl.Series(objections.objecting(ranked["person_id"].to_list(), need.id), dtype=pl.Boolean)
    remaining = ranked.filter(~objecting)
    awake = remaining.filter(~pl.col("person_id").is_in(list(resting)))
    placed = awake.filter(pl.col("unit_id").is_not_null())
    shares = split_capacity(
        need.capacity.k,
        units["unit_id"].to_list(),
        dict(placed.group_by("unit_id").len().iter_rows()),
        dict(units.select("unit_id", "capacity").iter_rows()),
    )
    listed = placed.filter(pl.int_range(pl.len()).over("unit_id") < pl.col("unit_id").replace_strict(shares, default=0))
    typical = Typical.of(scores.matrix)
    reasons, max_error = _reasons(listed, scores, scorer, city, typical, language)
    checks = ask_gate(
        scorer,
        policy,
        stop_switch,
        n_objectors=int(objections.objecting(listed["person_id"].to_list(), need.id).sum()),
        columns=scores.matrix.names,
        sort_key=sort_key_of(listed),
        max_error=max_error,
        moment=issued_at,
        determinism=_scored_again(scores, scorer),
        about_the_list=list_facts(
            scores,
            scorer,
            city,
            surroundings,
            covered=_covered(city, need, scores.as_of_date, objections),
            placed=ranked,
            out={*resting, *ranked.filter(objecting)["person_id"]},
            listed=listed["person_id"].to_list(),
            reasons=(
                (str(unit), reasons[person]) for unit, person in listed.select("unit_id", "person_id").iter_rows()
            ),
            language=language,
        ),
    )
    keys = row_keys(listed["person_id"].to_list())
    parts = tuple(
        _part(unit, placed, listed, shares, reasons, keys) for unit in units.sort("unit_id").iter_rows(named=True)
    )
    excluded = {
        OBJECTED: scores.cohort_n - remaining.height,
        LISTED_RECENTLY: remaining.height - awake.height,
        UNIT_NOT_KNOWN: awake.height - placed.height,
    }
    verdict = scorer.verified.verdict
    banners = {"demonstration": verdict.demonstration, "invented": bool(verdict.scope.get("invented"))}
    frozen = OutreachList(
        list_id=new_list_id(issued_at),
        list_digest="",
        need=need,
        as_of_date=scores.as_of_date,
        capacity_k=need.capacity.k,
        cohort_n=scores.cohort_n,
        parts=parts,
        excluded=excluded,
        model_digest=scores.model_digest,
        verdict_id=scores.verdict_id,
        expires_at=verdict.expires_at.isoformat(timespec="seconds"),
        matrix_digest=scores.matrix_digest,
        checks=checks,
        banners=tuple(banner for banner, is_shown in banners.items() if is_shown),
        language=language,
        reason_stability=reason_stability(
            scorer.model, scores.matrix, listed["row"].to_numpy(), typical, reader=need.service
        ),
    )
    return replace(frozen, list_digest=sha256(canonical_json(frozen.said())))


def _covered(city: City, need: Need, as_of_date: date, objections: ObjectionRegister) -> pl.DataFrame:
    """Everybody the need covers on a day who does not object: what no list may have lost on its way."""
    people = build_cohort(city, need.cohort, [as_of_date], label=need.label).select("person_id")
    objecting = pl.Series(objections.objecting(people["person_id"].to_list(), need.id), dtype=pl.Boolean)
    return people.filter(~objecting)


def recently_listed(folder: Path, need: Need, as_of_date: date) -> frozenset[str]:
    """Who was on a list of this need less than its ``cooldown_days`` before a day.

    Read from what :meth:`OutreachList.write` left in ``folder``. Lists of the day itself do not count, so making a
    list again gives the same people.

    Raises
    ------
    NotTrusted
        What a list left there is damaged: who was on it would be listed again.
    """
    earliest = as_of_date - timedelta(days=need.list.cooldown_days)
    found: set[str] = set()
    for facts_path in sorted(folder.glob("*/list.json")):
        if facts_path.parent.name.startswith("."):  # a draft: that list was never handed out
            continue
        path = facts_path
        try:
            facts = json.loads(facts_path.read_text(encoding="utf-8"))
            if facts["need"] == need.id and earliest < date.fromisoformat(facts["as_of_date"]) < as_of_date:
                path = facts_path.with_name(ROWS)
                found.update(pl.read_parquet(path)["person_id"])
        except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError) as error:
            wrong = f"cannot be read ({type(error).__name__}), so who was on that list is not known"
            raise NotTrusted(Fault(str(path), wrong, "Restore it from the backup")) from None
    return frozenset(found)


def new_list_id(now: datetime) -> str:
    """A ULID: 48 bits of milliseconds, 80 random bits; 26 signs that sort by time.

    >>> from datetime import UTC
    >>> new_list_id(datetime(2024, 1, 1, tzinfo=UTC)) < new_list_id(datetime(2024, 1, 1, 0, 0, 1, tzinfo=UTC))
    True
    """
    number = int(now.timestamp() * 1000) << 80 | secrets.randbits(80)
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def _part(
    unit: Mapping[str, Any],
    placed: pl.DataFrame,
    listed: pl.DataFrame,
    shares: Mapping[str, int],
    reasons: Mapping[str, tuple[Reason, ...]],
    keys: Mapping[str, bytes],
) -> UnitPart:
    unit_id = unit["unit_id"]
    people = listed.filter(pl.col("unit_id") == unit_id).select("person_id", "rank_band")
    rows = [ListRow(rank, person, band, reasons[person]) for rank, (person, band) in enumerate(people.iter_rows(), 1)]
    hashed = (row.hashed(unit_id, keys[row.person_id]) for row in rows)
    eligible_n = placed.filter(pl.col("unit_id") == unit_id).height
    return UnitPart(unit_id, unit["name"], shares[unit_id], eligible_n, tuple(hashed))


def _scored_again(scores: Scores, scorer: Scorer) -> dict[str, int]:
    """Whether the model gives the people of a list the same scores again."""
    frame = scores.frame.sort("row")
    return rescoring(scorer.model, scores.matrix.X, frame["raw"].to_numpy(), at=frame["row"].to_numpy())


def _reasons(
    listed: pl.DataFrame, scores: Scores, scorer: Scorer, city: City, typical: Typical, language: str
) -> tuple[dict[str, tuple[Reason, ...]], float]:
    """Reasons of the listed as their own unit may see them, and the largest gap to their scores."""
    reasons: dict[str, tuple[Reason, ...]] = {}
    errors = [0.0]
    for (unit_id,), people in listed.group_by("unit_id", maintain_order=True):
        rows = people["row"].to_numpy()
        told, error = explain(
            scorer.model, scores.matrix, rows, typical, reader=str(unit_id), language=language, city=city
        )
        reasons |= {person: tuple(why) for person, why in zip(people["person_id"], told, strict=True)}
        errors.append(error)
    return reasons, max(errors)
