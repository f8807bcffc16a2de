"""Facts of a leader's page with every kind of need, as :func:`serving.week_pages.leader_facts` gathers them."""

LONG = "Lähisuhdeväkivaltakokemuskartoitushaastatteluvastaanottoaikavarausjärjestelmä"


def an_estimate(value, low, high):
    return {"value": value, "low": low, "high": high}


def a_verdict(**changes):
    said = {"id": "v-5000df543189581ed546", "state": "PASS_ATTESTED", "expires_at": "2024-07-15T12:00:00+00:00"}
    return {**said, "days_left": 42, "holds": True, "demonstration": True, **changes}


def a_unit(unit_id, k=20, **changes):
    past = {"listed": 60, "reached": 34, "found": 15, "taken_up": 12}
    past |= {"reach": an_estimate(0.567, 0.43, 0.69), "uptake": an_estimate(0.353, 0.19, 0.54)}
    unit = {"unit_id": unit_id, "name": unit_id.title(), "k": k, "listed": k, "share_used": 1.0, "past": past}
    return {**unit, "is_withheld": False, "expected": an_estimate(8.25, 4.0, 13.0), **changes}


def a_need(need_id="youth", **changes):
    units = [a_unit("north"), a_unit("east", 7, is_withheld=True, expected=None)]
    units[1]["past"] = dict.fromkeys(units[1]["past"])
    past = {"lists": 4, "days": 91, "first": "2024-04-01", "last": "2024-05-20", "listed": 108, "tried": 96}
    past |= {"reached": 61, "found": 27, "taken_up": 22, "reach": an_estimate(0.565, 0.466, 0.66)}
    past |= {"found_share": an_estimate(0.443, 0.316, 0.576), "uptake": an_estimate(0.361, 0.242, 0.494)}
    sample = {"share": an_estimate(0.075, 0.016, 0.204), "people": an_estimate(67.5, 14.4, 183.6)}
    past["missed"] = {**sample, "drawn": 48, "known": 40, "below_about": 900}
    cost = {"attempt": 24.5, "attempts": 131, "expected": an_estimate(62.4, 41.3, 110.2)}
    cost["measured"] = an_estimate(118.9, 91.4, 166.6)
    worth = {"one_more_worker": an_estimate(2.4, 0.6, 4.1), "perfect_order": an_estimate(9.0, 6.0, 12.0)}
    need = {"need": need_id, "title": dict.fromkeys(("fi", "sv", "en"), "Young people"), "state": "listed"}
    need |= {"errors": [], "list_id": "01HZZZZZZZZZZZZZZZZZZZZZZ1", "list_digest": "d" * 64, "objected_since": False}
    need |= {"period": "2024-06-03/2024-06-10", "service": "youth-work", "is_rule": False, "k": 27, "places": 27}
    need |= {"listed": 27, "attempts_per_person": 1, "expected_reached": 13.5, "cohort_about": 900, "worth": worth}
    left = [{"reason": "objected", "n": None}, {"reason": "listed recently", "n": 40}]
    need |= {"units": units, "left_out": left, "happened": past, "cost": cost, "verdict": a_verdict()}
    return {**need, "expected": an_estimate(11.1, 6.0, 17.0), **changes}


def no_list(need_id, state, **changes):
    error = {"where": "check C611", "wrong": "block: sources for another purpose", "mend": "Take them out"}
    need = {"need": need_id, "title": dict.fromkeys(("fi", "sv", "en"), need_id), "state": state, "errors": [error]}
    return {**need, "list_id": None, "verdict": a_verdict(), **changes}


def facts(*needs, **changes):
    """The facts of a page; every kind of need unless told."""
    nothing = {"lists": 0, "days": 91}
    unknown = {"attempt": None, "attempts": 0, "expected": None, "measured": None}
    needs = needs or (
        a_need(),
        a_need("written", is_rule=True, expected=None, happened=nothing, cost=unknown, worth=None,
               title=dict.fromkeys(("fi", "sv", "en"), LONG), attempts_per_person=2, objected_since=True,
               units=[a_unit(LONG, name=LONG, expected=None)], verdict=a_verdict(days_left=3)),
        no_list("blocked", "blocked", verdict=a_verdict(holds=False)),
        no_list("broken", "bad input", verdict={"id": "v-1", "state": None, "holds": False, "demonstration": False}),
        no_list("unapproved", "not trusted", verdict=None),
    )  # fmt: skip
    city = {"city": "city", "persons": 900, "event_rows": 5108, "extract_date": "2024-06-03", "age_days": 2}
    said = {"as_of_date": "2024-06-03", "made_at": "2024-06-05T08:00:00+00:00", "run": 1, "least": 10}
    said |= {"city": {**city, "rejected": 12, "invented": True}, "invented": True, "demonstration": True}
    return {**said, "objections_about": 40, "needs": list(needs), **changes}
