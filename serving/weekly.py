"""The story of a week: extract checked, needs scored, lists settled, judged and published, pages made.

One run that may be killed anywhere and run again: what is published stays, what is missing is made, and the same inputs
give the same lists. Nothing is trained, judged or approved. One need that fails stops no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ethics.refusals import BadInput, Fault, NotTrusted, Refusal
from serving.contacted_once import people_listed, settling, taken_by_others
from serving.flows import ask_about_scores
from serving.home import Home, locked
from serving.list_work import finish_interrupted, list_made, publish_to_units, scored_by, wanted_elsewhere
from serving.opening import folder_of, need_path, open_city_within
from serving.progress import Step, masked, silent
from serving.unexpected import file_fault, own_fault
from serving.week_pages import write_pages
from serving.week_state import (
    NeedCounts,
    WeekState,
    begun,
    read_state,
    refuse_old_extract,
    week_folder,
    write_state,
)

if TYPE_CHECKING:
    from features.city import City
    from models.need import Need
    from scoring.list_records import OutreachList
    from scoring.scorer import Scorer, Scores

LISTED = "listed"
PENDING = "pending"
WORST = (0, 2, 10, 20, 30, 1)
"""Exit codes, the worst last: a fault of ours leaves it open what else is wrong."""
STATES = {1: "failed", 2: "bad input", 10: "inconclusive", 20: "blocked", 30: "not trusted"}


@dataclass
class NeedOfWeek:
    """One need in one run.

    ``state`` is "pending", "listed", or why there is no list (the values of :data:`STATES`); ``is_new`` says that this
    process published it; ``prepared`` are scorer, city and scores, where they were needed.
    """

    need_id: str
    file: Path | None
    state: str = PENDING
    exit_code: int = 0
    faults: tuple[Fault, ...] = ()
    list_id: str | None = None
    is_new: bool = False
    prepared: tuple[Scorer, City, Scores] | None = None
    elsewhere: frozenset[str] = frozenset()
    made: OutreachList | None = None
    files: tuple[str, ...] = field(default=())

    @property
    def is_pending(self) -> bool:
        """Whether its list is still to be made."""
        return self.state == PENDING

    def failed(self, error: Exception) -> None:
        """Keep why there is no list of it this time."""
        self.faults, self.exit_code = _faults_of(error)
        self.state = STATES[self.exit_code]
        self.prepared = self.made = None


def run_week(
    home: Home,
    city_folder: str | Path,
    as_of: date | None = None,
    *,
    needs: Sequence[Path] = (),
    again: bool = False,
    max_age: int | None = None,
    language: str = "en",
    step: Step = silent,
) -> dict[str, Any]:
    """The lists of a day, of every approved need or of some; the leader's page; the area table.

    Parameters
    ----------
    home : Home
    city_folder : path
    as_of : date, optional
        The city's extract date unless given.
    needs : sequence of Path
        Need files or ids; none means every need with an approved model.
    again : bool
        Make new lists though there are lists of that day.
    max_age : int, optional
        Days that the extract may be old.
    language : {"fi", "sv", "en"}
        Of the lists.

    Returns
    -------
    dict
        ``exit_code`` (the worst of all needs, see :data:`WORST`), ``as_of_date``, ``run``, ``city``, ``needs`` (each
        with its state), ``pages``, ``area_table``.

    Raises
    ------
    BadInput
        The city cannot be used, is too old, or does not know the day yet.
    NotTrusted
        No need has an approved model, or the state of the week is damaged.
    """
    from scoring.reasons import Words

    Words.of(language)
    folder = folder_of(city_folder)
    with settling(home):
        chosen = _needs(home, needs)
        city = open_city_within(home.policy.limits.max_reject_share, folder, step)
        as_of = as_of or city.extract_date
        about_city = _checked(home, city, as_of, max_age)
        path = week_folder(home, as_of).with_suffix(".json")
        state = _state(home, path, as_of, chosen, again=again)
        write_state(path, state)
        run = _Run(home, folder, as_of, path, state, language, step)
        run.find_published(chosen)
        run.make_lists(chosen)
        run.count_published(chosen)
        state = run.state.model_copy(update={"is_finished": True})
        write_state(path, state)
        result = _result(home, as_of, state, about_city, chosen)
        home.audit_log.append("week", "service", n=sum(need.list_id is not None for need in chosen))
        beside = [_told(home, need) for need in _others(home, as_of, chosen)]
        shown = sorted([*result["needs"], *beside], key=lambda need: str(need["need"]))
        return {**result, **write_pages(home, city, as_of, state, shown, about_city, step)}


# ---- what a run begins with ------------------------------------------------------------------------------------


def _needs(home: Home, needs: Sequence[Path]) -> list[NeedOfWeek]:
    from models.registry import approved_needs

    files: dict[str, Path | None] = {path.stem: path for path in map(need_path, needs)}
    files = files or dict.fromkeys(approved_needs(home.registry))
    if not files:
        raise NotTrusted(Fault("week", "no need has an approved model", "Train, judge, sign and approve one"))
    return [NeedOfWeek(need_id, file) for need_id, file in sorted(files.items())]


def _checked(home: Home, city: City, as_of: date, max_age: int | None) -> dict[str, Any]:
    """What is to be known of the extract before anybody is listed by it; the objections of this moment are at hand."""
    today = datetime.now(UTC).date()
    if as_of > city.extract_date:
        wrong = f"is {as_of}, after the extract date {city.extract_date}: the city does not know that day yet"
        raise BadInput(Fault("--as-of", wrong, f"Give {city.extract_date} or earlier, or fetch a new extract"))
    refuse_old_extract(city.extract_date, today, max_age)
    home.objections.count()  # a register that cannot be read stops the week before anybody is scored
    return {
        "city": city.name,
        "persons": city.persons.height,
        "event_rows": city.n_event_rows,
        "extract_date": str(city.extract_date),
        "age_days": (today - city.extract_date).days,
        "rejected": city.rejects.height,
        "invented": city.invented,
    }


def _state(home: Home, path: Path, as_of: date, chosen: Iterable[NeedOfWeek], *, again: bool) -> WeekState:
    """The state to go on from: of the run before, or of a new one."""
    state = read_state(path, as_of)
    if state is None:
        before = _lists_of(home, as_of, chosen) if again else {}
        return begun(as_of, before=before)
    if again and state.is_finished:
        return begun(as_of, state.run + 1, {**state.before, **_lists_of(home, as_of, chosen)})
    return state  # also with --again: a run that was cut short is finished first


def _lists_of(home: Home, as_of: date, chosen: Iterable[NeedOfWeek]) -> dict[str, tuple[str, ...]]:
    return {need.need_id: tuple(published(home, need.need_id, as_of)) for need in chosen}


def published(home: Home, need_id: str, as_of: date) -> list[str]:
    """Ids of a need's published lists of a day, oldest first."""
    lists = home.store.lists(need_id, as_of)
    return sorted(lists.filter(lists["as_of_date"] == as_of)["list_id"])


# ---- the run ---------------------------------------------------------------------------------------------------


@dataclass
class _Run:
    """One process at work on a week."""

    home: Home
    folder: Path
    as_of: date
    path: Path
    state: WeekState
    language: str
    step: Step

    def find_published(self, needs: Iterable[NeedOfWeek]) -> None:
        """Needs whose list of this run stands in the store; what a killed run was writing is finished."""
        for need in needs:
            with locked(self.home.lists / f".{need.need_id}.lock"):
                finish_interrupted(self.home, need.need_id)
            earlier = set(self.state.before.get(need.need_id, ()))
            if own := [one for one in published(self.home, need.need_id, self.as_of) if one not in earlier]:
                need.state, need.list_id = LISTED, own[-1]

    def make_lists(self, needs: Sequence[NeedOfWeek]) -> None:
        """Score whom lists are to be made for, settle who contacts whom, judge every list, and publish them."""
        if not any(need.is_pending for need in needs):
            return
        for need in needs:
            self._score(need)
        self._draft(needs)
        for need in needs:
            if need.is_pending:
                self._guarded(need, partial(self._publish, needs=needs))

    def count_published(self, needs: Iterable[NeedOfWeek]) -> None:
        """The counts behind the pages, of lists that this state knows none of: another command made them."""
        for need in needs:
            if need.list_id is None:
                continue
            facts = self.home.store.list_facts(need.list_id)
            counts = self.state.counts.get(need.need_id)
            if counts is not None and counts.list_digest == facts["list_digest"]:
                continue
            self._score(need)
            # Another model's scores would say nothing of this list.
            if need.prepared is not None and need.prepared[2].model_digest == facts["model_digest"]:
                self._keep_counts(need, facts["list_digest"], people_listed(self.home, need.list_id))

    def _guarded(self, need: NeedOfWeek, act: Callable[[NeedOfWeek], None]) -> bool:
        """Do something for one need; what goes wrong is that need's alone."""
        try:
            act(need)
        except Exception as error:
            if need.list_id is None:
                need.failed(error)
            else:  # its list stands: only what would have been known beside it is missing
                need.prepared = None
            return False
        return True

    def _score(self, need: NeedOfWeek) -> None:
        def scored(need: NeedOfWeek) -> None:
            _, scorer, city, scores = scored_by(self.home, self.folder, need.need_id, need.file, self.as_of, self.step)
            if need.is_pending:
                ask_about_scores(self.home, scorer, scores)
                self.step(f"{need.need_id}: keeping the scores")
                self.home.store.add_scores(scores)
                verdict, n = scores.verdict_id, len(scores)
                self.home.audit_log.append("score", "service", need=need.need_id, verdict=verdict, n=n)
            need.prepared = (scorer, city, scores)

        if need.prepared is None and (need.is_pending or need.list_id is not None):
            self._guarded(need, scored)

    def _draft(self, needs: Sequence[NeedOfWeek]) -> None:
        """Lists that the gate lets leave; where it stops one, those left to that need are offered to the others."""
        while True:
            left = self._settled(needs)
            stopped = False
            for need in needs:
                out = left.get(need.need_id, frozenset())
                if need.is_pending and (need.made is None or need.elsewhere != out):
                    need.elsewhere = out
                    stopped = not self._guarded(need, self._draw_up) or stopped
            if not stopped:
                return

    def _settled(self, needs: Sequence[NeedOfWeek]) -> Mapping[str, frozenset[str]]:
        """Whom each need leaves to another."""
        prepared = [need.prepared for need in needs if need.is_pending and need.prepared is not None]
        taken = {one[0].need.id: self._taken(one[0].need, needs) for one in prepared}
        if len(prepared) < 2 and not any(taken.values()):
            return {}
        self.step("settling who contacts whom")
        return wanted_elsewhere(self.home, prepared, self.folder, taken)

    def _taken(self, need: Need, needs: Iterable[NeedOfWeek]) -> frozenset[str]:
        """People whom lists of other needs hold already, of needs outside this run too."""
        return taken_by_others(self.home, need, self.as_of, [one.need_id for one in needs if one.is_pending])

    def _draw_up(self, need: NeedOfWeek) -> None:
        if need.prepared is not None:
            self.step(f"{need.need_id}: drawing up the list")
            asked: dict[str, Any] = {"language": self.language, "elsewhere": need.elsewhere}
            need.made = list_made(self.home, self.folder, *need.prepared, **asked)

    def _publish(self, need: NeedOfWeek, needs: Sequence[NeedOfWeek]) -> None:
        with locked(self.home.lists / f".{need.need_id}.lock"):
            if self._is_out_of_date(need, needs):
                need.made = None
                self._draft(needs)  # whoever moves up may be wanted, or contacted, elsewhere
            if need.made is None:
                return
            # Before the list, so that whoever finds it in the store finds its counts here.
            self._keep_counts(need, need.made.list_digest, _people(need.made, without_sample=True))
            self.step(f"{need.need_id}: publishing the list")
            files, _ = publish_to_units(self.home, self.folder, need.made)
            need.files = tuple(map(str, files))
        need.state, need.list_id, need.is_new = LISTED, need.made.list_id, True
        need.prepared = need.made = None

    def _is_out_of_date(self, need: NeedOfWeek, needs: Sequence[NeedOfWeek]) -> bool:
        """Whether somebody on a list that was drawn up objected since, or stands on one that was published since."""
        if need.made is None or need.prepared is None:
            return False
        objecting = self.home.objections.objecting(_people(need.made), need.need_id)
        taken = self._taken(need.prepared[0].need, needs)
        return bool(objecting.any()) or not taken.isdisjoint(_people(need.made, without_sample=True))

    def _keep_counts(self, need: NeedOfWeek, list_digest: str, people: Iterable[str]) -> None:
        from scoring.week_counts import counts_of_week

        if need.prepared is None:
            return
        scorer, city, scores = need.prepared
        counts = counts_of_week(scores, city, scorer.need, list(people))
        kept = NeedCounts.model_validate({"list_digest": list_digest, **counts}, strict=False)
        self.state = self.state.with_counts(need.need_id, kept)
        write_state(self.path, self.state)


def _people(made: OutreachList, *, without_sample: bool = False) -> list[str]:
    """People whom a list shows, or of them those to contact."""
    rows = [row for part in made.parts for row in part.rows]
    return [row.person_id for row in rows if not (without_sample and row.kind == "sample")]


def _others(home: Home, as_of: date, chosen: Iterable[NeedOfWeek]) -> list[NeedOfWeek]:
    """Needs outside this run that have a list of the day: the pages are of all of them."""
    lists = home.store.lists(since=as_of)
    newest = dict(lists.filter(lists["as_of_date"] == as_of).sort("list_id").select("need_id", "list_id").iter_rows())
    here = {need.need_id for need in chosen}
    return [NeedOfWeek(one, None, LISTED, list_id=newest[one]) for one in sorted(newest.keys() - here)]


# ---- what came of it -------------------------------------------------------------------------------------------


def _faults_of(error: Exception) -> tuple[tuple[Fault, ...], int]:
    """What is said of an error, and the exit code it stands for."""
    if isinstance(error, Refusal):
        faults, code = tuple(error.faults), error.exit_code
    elif isinstance(error, OSError):
        faults, code = (file_fault(error),), BadInput.exit_code
    else:
        faults, code = (own_fault(error),), 1
    return tuple(Fault(*(masked(text) for text in fault)) for fault in faults), code


def _result(
    home: Home, as_of: date, state: WeekState, about_city: Mapping[str, Any], needs: Sequence[NeedOfWeek]
) -> dict[str, Any]:
    told = [_told(home, need) for need in needs]
    return {
        "exit_code": max((need.exit_code for need in needs), key=WORST.index),
        "as_of_date": str(as_of),
        "run": state.run,
        "city": dict(about_city),
        "needs": told,
    }


def _told(home: Home, need: NeedOfWeek) -> dict[str, Any]:
    """One need's outcome; of its list what can be said without saying who is on it."""
    said: dict[str, Any] = {"need": need.need_id, "state": need.state, "exit_code": need.exit_code}
    if need.list_id is None:
        return {**said, "errors": [fault.facts() for fault in need.faults]}
    facts = home.store.list_facts(need.list_id)
    kept = ("list_id", "list_digest", "listed", "capacity_k", "cohort_n", "excluded", "verdict_id", "units")
    people = home.store.rows(need.list_id)["person_id"].drop_nulls().unique().to_list()
    return {
        **said,
        **{name: facts[name] for name in kept},
        "is_new": need.is_new,
        "files": list(need.files) or home.store.exports(list_id=need.list_id)["file"].to_list(),
        # They are to be called back from the unit; how many is nobody's business.
        "objected_since": bool(home.objections.objecting(people, need.need_id).any()),
    }
