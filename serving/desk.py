"""The desk behind the HTTP service: one request, one person, one answer, and a look at the verdict before each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import polars as pl

from ethics.case import SORT_KEY
from ethics.gate import ONLINE_CHECKS
from ethics.refusals import BadInput, Fault, NotTrusted, Refusal, did_you_mean
from features.city import city_from_frames
from scoring.list_gate import ask_gate
from scoring.reasons import Typical, explain
from scoring.scorer import Scorer
from serving.schemas import Problem, ReasonBody, ScoreRequest, ScoreResponse

if TYPE_CHECKING:
    from ethics.gate import Policy
    from ethics.objections import ObjectionRegister
    from features.city import City
    from serving.approval import Champion

_MOST_TYPICALS = 32
_FROM_BIRTH = ("age",)


class Unanswered(Exception):
    """A request that gets no score: an HTTP status, a title, and what is wrong."""

    def __init__(self, status: int, title: str, *faults: Fault) -> None:
        super().__init__(title)
        self.problem = Problem.of(status, title, *faults)


@dataclass(frozen=True)
class _Stamp:
    """What a file looked like when it was verified; if any of these changes it is read and hashed again."""

    modified_ns: int
    size: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> _Stamp | None:
        try:
            found = path.stat()
        except OSError:
            return None
        return cls(found.st_mtime_ns, found.st_size, found.st_ino)


class Guarded:
    """One need's champion: verified when it is opened, and looked at again before every answer.

    Parameters
    ----------
    opener : callable
        Opens and verifies the champion from its files; raises when anything is not as it was sealed.
    """

    def __init__(self, opener: Callable[[], Champion]) -> None:
        self._opener = opener
        self._lock = Lock()
        self._stamps: dict[Path, _Stamp | None] = {}
        self._open()

    def _open(self) -> None:
        self._stamps = {}  # until it is verified again, nothing is
        champion = self._opener()
        scorer = Scorer(champion.verified, champion.model, champion.tie_secret)
        self.champion, self.scorer = champion, scorer
        watched = {champion.artefact_folder, *champion.artefact_folder.iterdir(), *champion.watched}
        self._stamps = {path: _Stamp.of(path) for path in sorted(watched)}

    def still_trusted(self, now: datetime) -> Scorer:
        """The scorer, if the stop switch is not set, the verdict is in date, and no file has changed unverified.

        Raises
        ------
        Refusal
            Why no score may leave now.
        """
        with self._lock:
            if self.champion.stop_switch.is_set():
                raise NotTrusted(Fault("stop switch", "is set, so no score leaves", "Ask the service owner"))
            if not self._stamps or any(_Stamp.of(path) != stamp for path, stamp in self._stamps.items()):
                self._open()
            expires_at = self.champion.verified.verdict.expires_at
            if now >= expires_at:
                wrong = f"expired at {expires_at.isoformat(timespec='seconds')}"
                raise NotTrusted(Fault("verdict", wrong, "Judge, sign and approve the model again"))
            return self.scorer


class ScoreDesk:
    """Answers requests about one city with the champions of some needs.

    Parameters
    ----------
    city : City
    guarded : mapping of need id to Guarded
    objections : ObjectionRegister
    policy : Policy
    """

    def __init__(
        self, city: City, guarded: Mapping[str, Guarded], objections: ObjectionRegister, policy: Policy
    ) -> None:
        self.city = city
        self.guarded = guarded
        self.objections = objections
        self.policy = policy
        self._typicals: dict[tuple[str, str, date, tuple[int, int]], Typical] = {}
        self._lock = Lock()

    def require_trust(self) -> None:
        """Verify every need again; raises Refusal as :meth:`Guarded.still_trusted`."""
        for guarded in self.guarded.values():
            guarded.still_trusted(datetime.now(UTC))

    def needs(self) -> list[dict[str, str]]:
        """What can be asked for."""
        return [
            {"need": need_id, "service": guarded.scorer.need.service, "title": guarded.scorer.need.title.en}
            for need_id, guarded in sorted(self.guarded.items())
        ]

    def verdict(self, need_id: str) -> dict[str, Any]:
        """What the scores of a need rest on; raises Unanswered."""
        verdict = self._trusted(need_id, "query: need").verified.verdict
        return {
            "need": need_id,
            "verdict_id": verdict.verdict_id,
            "state": verdict.state,
            "model_digest": verdict.subject["model"],
            "expires_at": verdict.expires_at.isoformat(timespec="seconds"),
            "demonstration": verdict.demonstration,
        }

    def answer(self, request: ScoreRequest) -> ScoreResponse:
        """Score one person, from the city or from the body; raises Unanswered."""
        scorer = self._trusted(request.need, "body: need")
        person_id = request.whose
        self._refuse_objector(person_id, scorer)
        self._refuse_date(request.as_of_date)
        city = self._city_of(request, scorer)
        if not scorer.covers(city, request.as_of_date, person_id):
            wrong = f"is not among those this need covers on {request.as_of_date}"
            raise Unanswered(422, "Not covered", Fault("body: person_id", wrong, "Ask about those it covers"))
        try:
            whole = self.city if scorer.need.kind == "rule" else city
            scores = scorer.score(whole, request.as_of_date, self.objections, [person_id])
            row = scores.frame.row(0, named=True)
        except (BadInput, pl.exceptions.OutOfBoundsError) as error:
            self._refuse_objector(person_id, scorer)  # who may have objected this very moment
            raise Unanswered(422, "No score can be made", *getattr(error, "faults", ())) from None
        typical = self._typical(scorer, request.as_of_date)
        reader, language = scorer.need.service, request.language
        reasons, max_error = explain(
            scorer.model, scores.matrix, [row["row"]], typical, reader=reader, language=language
        )
        self._ask_gate(scorer, scores.matrix.names, max_error, person_id)
        return ScoreResponse(
            person_id=row["person_id"],
            as_of_date=request.as_of_date,
            score=row["score"],
            rank_band=row["rank_band"],
            reasons=tuple(ReasonBody(text=r.text, source=r.source, changeable=r.changeable) for r in reasons[0]),
            model_digest=scores.model_digest,
            verdict_id=scores.verdict_id,
        )

    def _trusted(self, need_id: str, where: str) -> Scorer:
        guarded = self.guarded.get(need_id)
        if guarded is None:
            mend = did_you_mean(need_id, self.guarded)
            raise Unanswered(404, "Unknown need", Fault(where, "names no need this server answers for", mend))
        try:
            return guarded.still_trusted(datetime.now(UTC))
        except Refusal as refusal:
            raise Unanswered(503, "No score may leave now", *refusal.faults) from None

    def _ask_gate(self, scorer: Scorer, columns: tuple[str, ...], max_error: float, person_id: str) -> None:
        try:
            ask_gate(
                scorer,
                self.policy,
                self.guarded[scorer.need.id].champion.stop_switch,
                n_objectors=int(self.objections.objecting([person_id], scorer.need.id).sum()),
                columns=columns,
                sort_key=SORT_KEY,
                max_error=max_error,
                moment=datetime.now(UTC),
                checks=ONLINE_CHECKS,
            )
        except Refusal as refusal:
            raise Unanswered(503, "No score may leave now", *refusal.faults) from None

    def _refuse_objector(self, person_id: str, scorer: Scorer) -> None:
        if self.objections.objecting([person_id], scorer.need.id)[0]:
            wrong = "has objected to this use, so there is no score"
            raise Unanswered(403, "Objected", Fault("body: person_id", wrong, "Use the alternative the need names"))

    def _refuse_date(self, as_of_date: date) -> None:
        """A day on which the city knew nothing yet, or that its extract has not reached, gets no score."""
        latest = self.city.extract_date
        if as_of_date > latest:
            wrong = f"is {as_of_date}, after the extract date {latest}: the city does not know that day yet"
            raise Unanswered(422, "Too late", Fault("body: as_of_date", wrong, f"Give {latest} or an earlier day"))
        if as_of_date <= self._first_day:
            wrong = f"is {as_of_date}, but nothing was known of this city before {self._first_day}"
            raise Unanswered(422, "Too early", Fault("body: as_of_date", wrong, "Give a later day"))

    @cached_property
    def _residents(self) -> frozenset[str]:
        return frozenset(self.city.events.person_ids)

    @cached_property
    def _first_day(self) -> date:
        """The day of the first event."""
        time = self.city.events.time
        return date(1970, 1, 1) + timedelta(microseconds=int(time.min())) if time.size else self.city.extract_date

    def _typical(self, scorer: Scorer, as_of_date: date) -> Typical:
        """What is typical on a day. It takes the whole cohort, so it is kept; another objection makes it anew."""
        key = (scorer.need.id, scorer.model.digest, as_of_date, self.objections.version())
        with self._lock:
            found = self._typicals.get(key)
            if found is None:
                found = Typical.of(scorer.matrix(self.city, as_of_date, self.objections))
                while len(self._typicals) >= _MOST_TYPICALS:
                    self._typicals.pop(next(iter(self._typicals)))
                self._typicals[key] = found
            return found

    def _city_of(self, request: ScoreRequest, scorer: Scorer) -> City:
        """A city of the one person asked about, from the folder or from the body."""
        if request.person is not None:
            return self._city_of_body(request, scorer)
        if request.whose not in self._residents:
            wrong, mend = "is not in the city folder", "Check it, or send person and events"
            raise Unanswered(404, "Unknown person", Fault("body: person_id", wrong, mend))
        return self.city.only([request.whose])

    def _city_of_body(self, request: ScoreRequest, scorer: Scorer) -> City:
        """A city of one, through the same door as a city folder; raises Unanswered."""
        if faults := self._needs_more_than_a_body(request, scorer):
            raise Unanswered(422, "This need cannot be scored from a body", *faults)
        try:
            return city_from_frames(*_frames(request, self.city), like=self.city)
        except BadInput as refusal:
            raise Unanswered(422, "The body cannot be used", *refusal.faults) from None

    def _needs_more_than_a_body(self, request: ScoreRequest, scorer: Scorer) -> list[Fault]:
        """What the need, or the body, uses that only a city folder can tell."""
        need, mend = scorer.need, "Send person_id, for a person of the city folder"
        faults = []
        if need.kind == "rule":
            faults.append(Fault("body: person", "this need puts a whole cohort in order", mend))
        if need.cohort.table is not None:
            faults.append(Fault("body: person", "this need covers those of a ready-made table", mend))
        used = [rule.attribute for rule in need.cohort.where]
        used += [feature.attribute for feature in need.features if feature.attribute is not None]
        for attribute in dict.fromkeys(used):
            if attribute not in (*_FROM_BIRTH, *self.city.fixed):
                wrong = f"this need uses '{attribute}', which changes over time and cannot come in a body"
                faults.append(Fault("body: person", wrong, mend))
        for relation in dict.fromkeys(feature.of for feature in need.features if feature.of != "self"):
            faults.append(Fault("body: person", f"this need reads about the person's {relation}", mend))
        assert request.person is not None
        for name in sorted(set(request.person.model_extra or {}) - set(self.city.fixed)):
            faults.append(Fault("body: person", "holds a key that is not one", did_you_mean(name, self.city.fixed)))
        return faults


def _frames(request: ScoreRequest, city: City) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The body as tables like those of a city folder."""
    assert request.person is not None and request.events is not None
    fixed = {name: None if v is None else str(v) for name, v in (request.person.model_extra or {}).items()}
    fixed = {name: fixed.get(name) for name in city.fixed}
    persons = pl.DataFrame(
        [{"person_id": request.person.person_id, "birth_date": request.person.birth_date, **fixed}],
        schema={"person_id": pl.String, "birth_date": pl.Date, **dict.fromkeys(city.fixed, pl.String)},
    )
    zone = ZoneInfo(city.timezone)
    rows = [
        {
            "person_id": request.person.person_id,
            "event_date": _local(event.event_date, zone),
            "knowledge_date": None if event.knowledge_date is None else _local(event.knowledge_date, zone),
            "code": event.code,
            "value": event.value,
        }
        for event in request.events
    ]
    moments = {"event_date": pl.Datetime("us"), "knowledge_date": pl.Datetime("us")}
    types: dict[str, Any] = {"person_id": pl.String, **moments, "code": pl.String, "value": pl.Float64}
    return persons, pl.DataFrame(rows, schema=types)


def _local(text: str, zone: ZoneInfo) -> datetime:
    """A moment as the city's clocks showed it; a day without a clock stands at its midnight."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is None else moment.astimezone(zone).replace(tzinfo=None)
