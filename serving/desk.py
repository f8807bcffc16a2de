"""The desk behind the HTTP service: one request, one person, one answer, and a look at the verdict before each."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from ethics.case import SORT_KEY
from ethics.gate import ONLINE_CHECKS
from ethics.refusals import BadInput, Fault, Refusal, did_you_mean
from scoring.list_gate import ask_gate
from scoring.reasons import Typical, explain
from scoring.scorer import RANK_BANDS, Scorer
from serving.exchange import Unanswered, no_score_now, unknown_person
from serving.prepared_days import ABSENT, Day, PreparedDays
from serving.schemas import EventBody, ReasonBody, ScoreRequest, ScoreResponse
from serving.sent_city import city_of_body, misfits_of_need

if TYPE_CHECKING:
    from ethics.gate import Policy
    from ethics.objections import ObjectionRegister
    from features.city import City
    from features.matrix import Matrix
    from features.matrix_file import MatrixOnFile
    from serving.champions import Guarded
    from serving.kept_look import KeptLook, PostgresLook

_MOST_TYPICALS = 32
_GATE_SECONDS = 0.5
_ANSWER = b'{"person_id":%b,"as_of_date":"%b","score":%b,"rank_band":"%b","reasons":null,%b}'
_BANDS = tuple(name.encode() for name in RANK_BANDS)


class _Found(NamedTuple):
    """A person's row in what was scored, and the score."""

    matrix: Matrix | MatrixOnFile
    row: int
    score: float | None
    rank_band: Any


class ScoreDesk:
    """Answers requests about one city with the champions of some needs.

    Parameters
    ----------
    city : City
    guarded : mapping of need id to Guarded
    objections : ObjectionRegister
    policy : Policy
    look : KeptLook or PostgresLook, optional
        Who objects, at a small price; without it every answer is made anew.
    n_erased : callable, optional
        How many people were erased from the store.
    """

    def __init__(
        self,
        city: City,
        guarded: Mapping[str, Guarded],
        objections: ObjectionRegister,
        policy: Policy,
        look: KeptLook | PostgresLook | None = None,
        *,
        n_erased: Callable[[], int] = lambda: 0,
    ) -> None:
        self.city = city
        self.guarded = guarded
        self.objections = objections
        self.policy = policy
        self.look = look
        self.days = PreparedDays(city, objections, self.places)
        self._n_erased, self._n_erased_seen = n_erased, n_erased()
        self._typicals: dict[tuple[str, str, date], Typical] = {}
        self._typicals_state: Hashable = None
        self._asked_gate: dict[str, tuple[Scorer, tuple[str, ...], float, float]] = {}
        self._lock = Lock()

    def require_trust(self) -> None:
        """Verify every need again; raises Refusal as :meth:`Guarded.still_trusted`."""
        for guarded in self.guarded.values():
            guarded.still_trusted(datetime.now(UTC))

    def make_ready(self, old: Scorer, new: Scorer) -> None:
        """Before a new champion answers: the days that are ready by the old one, ready by the new."""
        if self.look is not None:
            self.days.make_like(old, new, self.look.state)

    def forget_the_erased(self) -> bool:
        """Let go of what was made ready before somebody was erased; whether there was any reason to.

        To be called at short intervals. No answer waits for it: each asks who was erased.
        """
        n_erased = self._n_erased()
        if n_erased == self._n_erased_seen:
            return False
        self._n_erased_seen = n_erased
        self.days.forget()
        with self._lock:
            self._typicals.clear()
        return True

    def close(self) -> None:
        """Prepare no more days, and give the kept connection back."""
        self.days.close()
        if self.look is not None:
            self.look.close()

    def needs(self) -> list[dict[str, str]]:
        """What can be asked for."""
        return [
            {"need": need_id, "service": guarded.scorer.need.service, "title": guarded.scorer.need.title.en}
            for need_id, guarded in sorted(self.guarded.items())
        ]

    def verdict(self, need_id: str) -> dict[str, Any]:
        """What the scores of a need rest on; raises Unanswered."""
        verdict = self.trusted(need_id, "query: need").verified.verdict
        return {
            "need": need_id,
            "verdict_id": verdict.verdict_id,
            "state": verdict.state,
            "model_digest": verdict.subject["model"],
            "expires_at": verdict.expires_at.isoformat(timespec="seconds"),
            "demonstration": verdict.demonstration,
        }

    def answer_now(self, request: ScoreRequest) -> tuple[bytes, str] | None:
        """The answer about a person of the city whose day is ready, without reasons; None says: ask :meth:`answer`.

        With it, the id of the verdict it rests on.

        Never waits for long (unless :attr:`waits`), so the event loop may ask. It is the same answer, to the bit.

        Raises
        ------
        Unanswered
            The gate lets no score leave.
        """
        guarded, look, place = self.guarded.get(request.need), self.look, self.places.get(request.person_id or "")
        if guarded is None or look is None or place is None or request.reasons:
            return None
        try:
            scorer = guarded.if_unchanged(datetime.now(UTC))
            day = scorer and self.days.of(scorer, request.as_of_date, look.state)
            if not day or day.band[place] == ABSENT or look.masked(request.whose, request.need):
                return None
        except (OSError, sqlite3.Error):
            return None
        self._ask_gate_at_times(day.scorer, day.columns, day.max_error)
        score = repr(float(day.score[place])).encode() if day.has_scores else b"null"
        person = request.whose
        named = f'"{person}"' if person.isascii() and person.isalnum() else json.dumps(person, ensure_ascii=False)
        content = _ANSWER % (named.encode(), day.named, score, _BANDS[day.band[place]], day.rests_on)
        return content, day.verdict_id

    @property
    def waits(self) -> bool:
        """Whether even :meth:`answer_now` may have to wait, so that it belongs in a thread."""
        return self.look is not None and self.look.waits

    def answer_in_thread(self, request: ScoreRequest) -> tuple[bytes, str]:
        """The answer, however it is made, and the id of the verdict it rests on; raises Unanswered."""
        found = self.answer_now(request) if self.waits else None
        if found is None:
            told = self.answer(request)
            found = told.model_dump_json().encode(), told.verdict_id
        return found

    def answer(self, request: ScoreRequest) -> ScoreResponse:
        """Score one person, from the city or from the body; raises Unanswered."""
        scorer = self.trusted(request.need, "body: need")
        person_id = request.whose
        self._refuse_objector(person_id, scorer)
        self.refuse_date(request.as_of_date)
        found = self._prepared(request, scorer) or self._made(request, scorer)
        reasons = None
        max_error = 0.0
        if request.reasons:
            typical = self._typical(scorer, request.as_of_date)
            reader, language = scorer.need.service, request.language
            told, max_error = explain(
                scorer.model, found.matrix, [found.row], typical, reader=reader, language=language
            )
            reasons = tuple(ReasonBody(text=r.text, source=r.source, changeable=r.changeable) for r in told[0])
        self._ask_gate(scorer, found.matrix.names, max_error, person_id)
        return ScoreResponse(
            person_id=person_id,
            as_of_date=request.as_of_date,
            score=found.score,
            rank_band=found.rank_band,
            reasons=reasons,
            model_digest=scorer.model.digest,
            verdict_id=scorer.verified.verdict.verdict_id,
        )

    def _prepared(self, request: ScoreRequest, scorer: Scorer) -> _Found | None:
        """The person's place in a day that is ready; otherwise the day is asked for."""
        place = self.places.get(request.person_id or "")
        if place is None:
            return None
        day = self.ready_day(scorer, request.as_of_date)
        if day is None and self.look is not None:
            self.days.ask_for(scorer, request.as_of_date, self.look.state)
        if day is None or day.matrix is None or day.band[place] == ABSENT:
            return None
        score = None if scorer.need.kind == "rule" else float(day.score[place])
        return _Found(day.matrix, int(day.row[place]), score, RANK_BANDS[day.band[place]])

    def _made(self, request: ScoreRequest, scorer: Scorer) -> _Found:
        """The person's score, made now; raises Unanswered."""
        person_id = request.whose
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
        return _Found(scores.matrix, row["row"], row["score"], row["rank_band"])

    def trusted(self, need_id: str, where: str) -> Scorer:
        """The scorer of a need, if scores may leave now; raises Unanswered (404, 503)."""
        guarded = self.guarded.get(need_id)
        if guarded is None:
            mend = did_you_mean(need_id, self.guarded)
            raise Unanswered(404, "Unknown need", Fault(where, "names no need this server answers for", mend))
        try:
            return guarded.still_trusted(datetime.now(UTC))
        except Refusal as refusal:
            raise no_score_now(refusal) from None

    def _ask_gate(self, scorer: Scorer, columns: tuple[str, ...], max_error: float, person_id: str) -> None:
        if self._objects(person_id, scorer.need.id):  # since a moment ago
            self._gate(scorer, columns, max_error, 1)
        self._ask_gate_at_times(scorer, columns, max_error)

    def _objects(self, person_id: str, need_id: str) -> bool:
        """Whether a person objects, or was erased; read afresh."""
        if self.look is not None:
            with contextlib.suppress(OSError, sqlite3.Error):
                return self.look.masked(person_id, need_id)
        return bool(self.objections.objecting([person_id], need_id)[0])

    def _gate(self, scorer: Scorer, columns: tuple[str, ...], max_error: float, n_objectors: int) -> None:
        try:
            ask_gate(
                scorer,
                self.policy,
                self.guarded[scorer.need.id].champion.stop_switch,
                n_objectors=n_objectors,
                columns=columns,
                sort_key=SORT_KEY,
                max_error=max_error,
                moment=datetime.now(UTC),
                checks=ONLINE_CHECKS,
            )
        except Refusal as refusal:
            raise no_score_now(refusal) from None

    def ready_day(self, scorer: Scorer, as_of_date: date) -> Day | None:
        """A day whose scores are ready; None where there is none, or nobody can tell now whether it still holds."""
        try:
            return None if self.look is None else self.days.of(scorer, as_of_date, self.look.state)
        except (OSError, sqlite3.Error):
            return None

    def ask_gate_of_many(self, scorer: Scorer, columns: Sequence[str], max_error: float) -> None:
        """Ask the gate about scores of which no objector's is one; raises Unanswered (503)."""
        self._ask_gate_at_times(scorer, tuple(columns), max_error)

    def _ask_gate_at_times(self, scorer: Scorer, columns: tuple[str, ...], max_error: float) -> None:
        """What the gate says of a scorer, columns and error holds for half a second, and for smaller errors."""
        now, kept = time.monotonic(), self._asked_gate.get(scorer.named[0])
        if kept is None or now >= kept[3] or (scorer, columns) != kept[:2] or max_error > kept[2]:
            self._gate(scorer, columns, max_error, 0)
            self._asked_gate[scorer.named[0]] = scorer, columns, max_error, now + _GATE_SECONDS

    def _refuse_objector(self, person_id: str, scorer: Scorer) -> None:
        if self._objects(person_id, scorer.need.id):
            wrong = "has objected to this use, so there is no score"
            raise Unanswered(403, "Objected", Fault("body: person_id", wrong, "Use the alternative the need names"))

    def refuse_date(self, as_of_date: date) -> None:
        """A day on which the city knew nothing yet, or that its extract has not reached, gets no score."""
        latest = self.city.extract_date
        if as_of_date > latest:
            wrong = f"is {as_of_date}, after the extract date {latest}: the city does not know that day yet"
            raise Unanswered(422, "Too late", Fault("body: as_of_date", wrong, f"Give {latest} or an earlier day"))
        if as_of_date <= self._first_day:
            wrong = f"is {as_of_date}, but nothing was known of this city before {self._first_day}"
            raise Unanswered(422, "Too early", Fault("body: as_of_date", wrong, "Give a later day"))

    @cached_property
    def places(self) -> dict[str, int]:
        """Person id → place in the city."""
        return {person_id: place for place, person_id in enumerate(self.city.events.person_ids)}

    @cached_property
    def _first_day(self) -> date:
        """The day of the first event."""
        time = self.city.events.time
        return date(1970, 1, 1) + timedelta(microseconds=int(time.min())) if time.size else self.city.extract_date

    def _typical(self, scorer: Scorer, as_of_date: date) -> Typical:
        """What is typical on a day. It takes the whole cohort, so it is kept until somebody objects or is erased."""
        key, state = (scorer.need.id, scorer.model.digest, as_of_date), self._masking()
        with self._lock:
            if state != self._typicals_state:  # medians that counted the erased are not kept either
                self._typicals.clear()
                self._typicals_state = state
            found = self._typicals.get(key)
            if found is None:
                found = Typical.of(scorer.matrix(self.city, as_of_date, self.objections))
                while len(self._typicals) >= _MOST_TYPICALS:
                    self._typicals.pop(next(iter(self._typicals)))
                self._typicals[key] = found
            return found

    def _masking(self) -> Hashable:
        """What is another whenever somebody objects, withdraws or is erased."""
        return self.objections.version(), self._n_erased()

    def _city_of(self, request: ScoreRequest, scorer: Scorer) -> City:
        """A city of the one person asked about, from the folder or from the body."""
        if request.person is not None:
            if faults := self._needs_more_than_a_body(request, scorer):
                raise Unanswered(422, "This need cannot be scored from a body", *faults)
            return city_of_body([request.person], _of_one(request), self.city)
        if request.whose not in self.places:
            raise unknown_person()
        return self.city.only([request.whose])

    def _needs_more_than_a_body(self, request: ScoreRequest, scorer: Scorer) -> list[Fault]:
        """What the need, or the body, uses that only a city folder can tell."""
        assert request.person is not None
        faults = misfits_of_need(
            scorer.need, self.city.fixed, "body: person", "Send person_id, for a person of the city folder"
        )
        for name in sorted(set(request.person.model_extra or {}) - set(self.city.fixed)):
            faults.append(Fault("body: person", "holds a key that is not one", did_you_mean(name, self.city.fixed)))
        return faults


def _of_one(request: ScoreRequest) -> list[tuple[str, EventBody]]:
    return [(request.whose, event) for event in request.events or ()]
