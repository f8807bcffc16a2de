"""Scores for a cohort or for one person, by one and the same way; only with a verified verdict of the same model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from ethics.case import SORT_KEY
from ethics.refusals import Fault, NotTrusted
from ethics.signing import VerifiedVerdict
from ethics.whole_file import write_whole
from features.blocks import matrix_blocks
from features.city import DataError
from features.cohort import build_cohort
from features.matrix import build_matrix
from features.matrix_file import MatrixOnFile
from models.ties import tie_keys
from scoring.below_the_line import lots
from scoring.forest import processors, raw_scores

if TYPE_CHECKING:
    from ethics.objections import ObjectionRegister
    from features.city import City
    from features.matrix import Matrix
    from models.need import Need

BAND_SHARES = (1, 5, 10, 25, 50)
"""Top shares of the cohort, in per cent, that have a band."""
RANK_BANDS = (*(f"top_{share}" for share in BAND_SHARES), "rest")
MOST_CELLS_HELD = 2**26
"""Cells of a matrix (256 MB) above which it is put on file, where there is a folder for it."""
_ORDER = ["raw", "tie_key"]
_DESCENDING = [True, False]


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of some people at one as-of date.

    Attributes
    ----------
    need_id : str
    as_of_date : date
    frame : pl.DataFrame
        One row per person, first rank first: ``person_id``, ``score`` (f64 in [0, 1]; null for a rule), ``raw`` (f64,
        higher first), ``rank`` (u32 from 1), ``rank_band``, ``tie_key`` and ``row`` (u32, the person's row in
        ``matrix``).
    matrix : Matrix or MatrixOnFile
        What was scored, for reasons and for what is typical; on file where it is large and a folder was given.
    cohort_n : int
        People the need covers on that date, objectors among them.
    n_objectors : int
        Those masked.
    model_digest, verdict_id, matrix_digest : str
        What the scores rest on.
    """

    need_id: str
    as_of_date: date
    frame: pl.DataFrame
    matrix: Matrix | MatrixOnFile
    cohort_n: int
    n_objectors: int
    model_digest: str
    verdict_id: str
    matrix_digest: str

    def __len__(self) -> int:
        return self.frame.height

    def table(self) -> pl.DataFrame:
        """The scores as others read them: no raw score, no tie key, and what each row rests on."""
        return self.frame.select(
            pl.lit(self.need_id).alias("need_id"),
            "person_id",
            pl.lit(self.as_of_date).alias("as_of_date"),
            "score",
            "rank",
            "rank_band",
            pl.lit(self.model_digest).alias("model_digest"),
            pl.lit(self.verdict_id).alias("verdict_id"),
        )

    def write(self, path: Path) -> Path:
        """Write :meth:`table` to a Parquet file that is there whole or not at all, readable by its owner alone."""
        content = BytesIO()
        self.table().write_parquet(content)
        write_whole(path, content.getvalue())
        return path


class Unordered(NamedTuple):
    """Scores of some people in no order.

    Attributes
    ----------
    person_ids : pl.Series of str (n,)
    score : float64 (n,) or None
        None for a rule.
    band : uint8 (n,)
        Place in ``RANK_BANDS``.
    matrix : Matrix
        What was scored, row by row.
    """

    person_ids: pl.Series
    score: np.ndarray | None
    band: np.ndarray
    matrix: Matrix


class Scorer:
    """Scores people with one model; cannot be made without a verified verdict of that very model.

    Parameters
    ----------
    verified : VerifiedVerdict
        From :func:`ethics.signing.verify`; nothing else will do.
    model : NeedModel or RuleModel
        With the digests of model and need that the verdict names.
    secret : bytes
        The need's secret in the home, for the neutral order among equals.

    Attributes
    ----------
    named : tuple of str
        Id of the need, digest of the model, id of the verdict: two scorers of the same name score alike.

    Raises
    ------
    TypeError
        ``verified`` is not a verified verdict.
    NotTrusted
        The verdict is about another model or need; both digests are named.
    """

    def __init__(self, verified: VerifiedVerdict, model: Any, secret: bytes) -> None:
        if not isinstance(verified, VerifiedVerdict):
            raise TypeError(f"a Scorer needs what ethics.signing.verify gives, not {type(verified).__name__}")
        self.verified = verified
        self.model = model
        self.need: Need = model.need
        self._secret = secret
        subject = verified.verdict.subject
        faults = [
            _differs(name, str(subject.get(name)), digest)
            for name, digest in self.digests.items()
            if subject.get(name) != digest
        ]
        if tuple(model.columns) != tuple(self.need.columns):
            wrong = f"the model takes {len(model.columns)}, which are not the {len(self.need.columns)} of the need"
            faults.append(Fault("columns", wrong, "Train and judge again"))
        if faults:
            raise NotTrusted(*faults)
        self.named = self.need.id, str(model.digest), str(verified.verdict.verdict_id)

    @property
    def digests(self) -> dict[str, str]:
        """Digests of the model and need that are in use, taken from their bytes."""
        return {"model": self.model.digest, "need": self.need.digest}

    def score(
        self,
        city: City,
        as_of_date: date,
        objections: ObjectionRegister,
        person_ids: Sequence[str] | None = None,
        *,
        scratch: Path | None = None,
        told: Callable[[float], None] | None = None,
    ) -> Scores:
        """Score everybody the need covers on a day, or those of ``person_ids`` whom it covers; objectors are masked.

        One person is scored exactly as in a whole city: same cohort rules, same matrix, same model, same bits; only
        ``rank`` is among those scored together. A written rule says nothing about one person alone, so under a rule
        the whole cohort is put in order first, and ``rank`` is the place in it.

        With ``scratch``, a folder whose disk may hold data of persons, a large cohort (:data:`MOST_CELLS_HELD`) is
        scored block by block: memory holds its scores, and its matrix lies in a file there without a name. The scores
        are the same to the bit, and so are all digests. ``told`` then hears after each block which share of the people
        is scored (0 to 1); what it raises ends the scoring.
        """
        whole_order = self.model.kind == "rule"  # whose places compare all rows
        part, cohort = self._part_and_cohort(city, as_of_date, person_ids)
        if scratch is None or whole_order or cohort.height * len(self.model.columns) <= MOST_CELLS_HELD:
            held = self._matrix(part, cohort, objections)
            matrix: Matrix | MatrixOnFile = held
            raw, probability = self.raw_and_score(held.X)
        else:
            matrix, raw, probability = self._streamed(part, cohort, objections, scratch, told)
        frame = self._ranked(matrix.keys["person_id"], raw, probability, as_of_date)
        if person_ids is not None:
            asked = pl.col("person_id").is_in(list(person_ids))
            frame, cohort = frame.filter(asked), cohort.filter(asked)
        return Scores(
            need_id=self.need.id,
            as_of_date=as_of_date,
            frame=frame,
            matrix=matrix,
            cohort_n=cohort.height,
            n_objectors=cohort.height - frame.height,
            model_digest=self.model.digest,
            verdict_id=self.verified.verdict.verdict_id,
            matrix_digest=matrix.digest,
        )

    def unordered(
        self,
        city: City,
        as_of_date: date,
        objections: ObjectionRegister,
        person_ids: Sequence[str] | None = None,
    ) -> Unordered:
        """As :meth:`score`, without order: nobody's rank, and no tie keys or digest, which are half of the work.

        Under a written rule everybody the need covers is scored, whoever is asked for.
        """
        part, cohort = self._part_and_cohort(city, as_of_date, person_ids)
        matrix = self._matrix(part, cohort, objections)
        raw, probability = self.raw_and_score(matrix.X)
        return Unordered(matrix.keys["person_id"], probability, self._band_numbers(raw), matrix)

    def _part_and_cohort(
        self, city: City, as_of_date: date, person_ids: Sequence[str] | None
    ) -> tuple[City, pl.DataFrame]:
        """The city of those who have to be scored, and whom the need covers there; a rule compares everybody."""
        part = city if self.model.kind == "rule" or person_ids is None else city.only(person_ids)
        return part, build_cohort(part, self.need.cohort, [as_of_date], label=self.need.label)

    def covers(self, city: City, as_of_date: date, person_id: str) -> bool:
        """Whether the need covers a person on a day."""
        try:
            build_cohort(city.only([person_id]), self.need.cohort, [as_of_date], label=self.need.label)
        except DataError as refusal:
            if any(fault.where != "cohort" for fault in refusal.faults):
                raise
            return False
        return True

    def matrix(self, city: City, as_of_date: date, objections: ObjectionRegister) -> Matrix:
        """The features of everybody the need covers on a day, objectors left out."""
        return self._matrix(city, build_cohort(city, self.need.cohort, [as_of_date], label=self.need.label), objections)

    def _matrix(self, city: City, cohort: pl.DataFrame, objections: ObjectionRegister) -> Matrix:
        return build_matrix(city, self.need.features, cohort, objections=objections, need_id=self.need.id)

    def _streamed(
        self,
        city: City,
        cohort: pl.DataFrame,
        objections: ObjectionRegister,
        scratch: Path,
        told: Callable[[float], None] | None,
    ) -> tuple[MatrixOnFile, np.ndarray, np.ndarray]:
        """The matrix on file, raw scores and scores: blocks are computed ahead while one is scored and put away."""
        matrix, raws = MatrixOnFile(scratch, self.model.columns), list[np.ndarray]()
        blocks = matrix_blocks(
            city, self.need.features, cohort, objections=objections, need_id=self.need.id, threads=processors()
        )
        for block in blocks:
            raws.append(raw_scores(self.model, block.X, 1))
            matrix.add(block)
            matrix.n_objectors = block.n_objectors
            if told is not None:
                told(sum(part.size for part in raws) / cohort.height)
        raw = np.concatenate(raws)
        probability = self.model.probability(raw)
        self._refuse_what_is_no_score(raw, probability)
        return matrix, raw, probability

    def raw_and_score(self, X: np.ndarray, threads: int | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """Raw scores of the rows of a matrix, float64 (n,), and their scores, which a rule has none of.

        Raises
        ------
        NotTrusted
            How many of the scores are none.
        """
        raw = raw_scores(self.model, X, threads)
        probability = None if self.model.kind == "rule" else self.model.probability(raw)
        self._refuse_what_is_no_score(raw, probability)
        return raw, probability

    def tie_keys(self, person_ids: Sequence[str], as_of_date: date) -> list[str]:
        """The neutral order among equals, (n,); see :func:`models.ties.tie_keys`."""
        return tie_keys(self._secret, person_ids, self.model.digest, as_of_date)

    def lots(self, purpose: str, person_ids: Sequence[str], as_of_date: date) -> list[str]:
        """A lot per person for one purpose; see :func:`scoring.below_the_line.lots`."""
        return lots(self._secret, purpose, person_ids, as_of_date)

    def _ranked(
        self, person_ids: pl.Series, raw: np.ndarray, probability: np.ndarray | None, as_of_date: date
    ) -> pl.DataFrame:
        keys = self.tie_keys(person_ids.to_list(), as_of_date)
        ranked = pl.DataFrame(
            {
                "person_id": person_ids,
                "score": pl.Series([None] * raw.size if probability is None else probability, dtype=pl.Float64),
                "raw": raw,
                "rank_band": pl.Series(RANK_BANDS).gather(self._band_numbers(raw)),
                "tie_key": pl.Series(keys, dtype=pl.String),
                "row": np.arange(raw.size, dtype=np.uint32),
            }
        ).sort(_ORDER, descending=_DESCENDING)
        ranked = ranked.with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.UInt32))
        return ranked.select("person_id", "score", "raw", "rank", "rank_band", "tie_key", "row")

    def _band_numbers(self, raw: np.ndarray) -> np.ndarray:
        """The band of each raw score, as its place in ``RANK_BANDS``: uint8 (n,).

        A model's bands begin where they did when it was judged, so one person's band needs nobody else; a rule's are
        shares of those put in order, where equals share the better band.
        """
        if self.model.kind == "rule":
            ahead = raw.size - np.searchsorted(np.sort(raw), raw, side="right")
            reached = [ahead * 100 < share * raw.size for share in BAND_SHARES]
        else:
            reached = [raw >= self.model.score_bands[share] for share in BAND_SHARES]
        return np.where(np.any(reached, axis=0), np.argmax(reached, axis=0), len(BAND_SHARES)).astype(np.uint8)

    def _refuse_what_is_no_score(self, raw: np.ndarray, probability: np.ndarray | None) -> None:
        no_score = ~np.isfinite(raw)
        if probability is not None:
            no_score |= ~((probability >= 0) & (probability <= 1))
        if no_score.any():
            wrong = f"gave {int(no_score.sum())} of {raw.size} people a score that is not one"
            raise NotTrusted(Fault(f"model {self.model.digest[:12]}", wrong, "Train and judge again"))


def sort_key_of(frame: pl.DataFrame) -> tuple[str, ...]:
    """What people stand in order by, found out from the order itself: the declared key, or that it is another."""
    same = frame.equals(frame.sort(_ORDER, descending=_DESCENDING))
    return SORT_KEY if same else ("another order",)


def _differs(name: str, judged: str, present: str) -> Fault:
    wrong = f"has the digest {present[:12]}…, but the verdict judged {judged[:12]}…"
    return Fault(name, wrong, f"Use the {name} that was judged, or judge this one")
