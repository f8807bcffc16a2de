"""How does a service's question become a need file, and does a model for it find more than the unit does today?

Open it with ``marimo edit notebooks/02_define_a_need.py``; run it as a script to see that it works.
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="2 · Define a need")

with app.setup(hide_code=True):
    import io
    import tempfile
    from pathlib import Path

    import marimo as mo
    import numpy as np
    import polars as pl
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure
    from sqlalchemy import create_engine

    from ethics import ObjectionRegister
    from features import open_city, synthetic_city
    from models import (
        DraftAnswers,
        attrition_plot,
        baselines_plot,
        draft_need,
        k_curve,
        lay_out,
        list_needs,
        parse_need,
        ranking_curve,
        review_in_city,
        review_need,
        run_experiment,
        split_timeline,
    )

    BLUE, ORANGE, GREY = "#0072B2", "#E69F00", "#595959"  # told apart by any colour vision
    SEED = 0


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 2 · Define a need

    **How does a service's question become a need file, and does a model for it find more than the unit does today?**

    Outreach youth work asks: *which young people are about to lose touch with school and work, so that we can call
    before it happens?* The way from that sentence to a first honest figure has six steps: answer seven questions, fill
    in what only people can know, let the file be reviewed, look at who is left on the way, look at the label over
    time, and only then train a model, beside everything simpler that could be done with the same number of calls.

    The city is **invented**: nobody in it exists. For your own, replace the cell that invents it by
    `city = open_city("path/to/city")`. No person's id is shown anywhere.
    """)
    return


@app.cell
def _():
    with tempfile.TemporaryDirectory() as _folder:
        synthetic_city(Path(_folder) / "city", 5_000, seed=3)
        city = open_city(Path(_folder) / "city")
    return (city,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## 1. A few answers make a draft

    The same answers that `ennakko needs new` asks for. Which codes there are, `01_meet_the_city.py` shows. The label
    is an outcome that is recorded alike for everybody (the employment register), not something a service did: a
    notification would show who is watched, not who is in need.
    """)
    return


@app.cell
def _(city):
    answers = DraftAnswers(
        title="Young people losing touch with school and work",
        service="outreach-youth-work",
        age=(16, 28),
        label_codes=["status.neet"],
        horizon_days=180,
        feature_codes=[
            "school.absence.unexcused",
            "school.grade",
            "school.guidance",
            "school.place_lost",
            "benefit.income_support",
        ],
        workers=4,
        attempts=15,
        today=city.extract_date,
    )
    draft = draft_need(answers)
    return answers, draft


@app.cell
def _(answers, draft):
    first_remarks = review_need(parse_need(draft.encode(), "losing_touch.toml"), answers.today)
    shown(first_remarks, "What an auditor would miss in the draft")
    return (first_remarks,)


@app.cell(hide_code=True)
def _(draft):
    mo.md(f"/// details | The draft, as a file\n\n```toml\n{draft}\n```\n///")
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    The draft is a valid file: it could be trained this minute. It could not be *approved*: every text that begins with
    `TO DO:` is one that somebody has to answer for, and the gate takes it for no text at all.

    ## 2. Fill in what only people can know

    Done in an editor, in the need file. Here the texts stand in the order in which the draft asks for them: Finnish,
    Swedish, English, or one for each feature. Four things are more than texts: which days end the observation, two
    signs of need that are **independent** of label and features (they test whether the label means what it says), a
    measure that suits grades, and looking every eight weeks rather than every four, since neighbouring days tell
    nearly the same. What the city's AI register says, and the answers for the impact assessments, the service has
    written before, for `youth_exclusion`: same people, same offer. They are taken over, to be read again.
    """)
    return


@app.cell
def _(draft):
    _texts = {
        "what the need is called": ("Nuoret, joiden ote koulusta heikkenee", "Unga som tappar kontakten med skolan"),
        "the question that the model answers, in one sentence": (
            "Ketkä 16–28-vuotiaat ovat puolen vuoden sisällä ilman työ- tai opiskelupaikkaa?",
            "Vilka 16–28-åringar står inom ett halvår utan arbete och studieplats?",
            "Which 16 to 28 year olds will be without work and a study place within half a year?",
        ),
        "what is offered to the people listed; voluntary": (
            "Nuorisotyöntekijä soittaa ja ehdottaa vapaaehtoista tapaamista.",
            "En ungdomsarbetare ringer och föreslår ett frivilligt möte.",
            "A youth worker calls and offers a meeting, which is voluntary.",
        ),
        "who gains what from it": (
            "Nuori saa tukea ennen kuin tilanne pitkittyy.",
            "Den unga får stöd innan situationen drar ut på tiden.",
            "The young person gets help before the situation drags on.",
        ),
        "how it would be done without a model": (
            "Oppilaitokset ilmoittavat nuorista, joilla on eniten luvattomia poissaoloja.",
            "Läroanstalterna meddelar vilka unga som har mest olovlig frånvaro.",
            "Schools report those with the most unexcused absences.",
        ),
        "head of the service, by role": ("Head of outreach youth work",),
        "who stands in, by role": ("Deputy head of outreach youth work",),
        "data protection officer, by role": ("Data protection officer",),
        "phone": ("+358 9 000 0001", "+358 9 000 0002", "+358 9 000 0003"),
        "nimi": ("luvattomat poissaolot", "arvosanat", "opinto-ohjaus", "opiskelupaikan menetys", "toimeentulotuki"),
        "namn": ("olovlig frånvaro", "vitsord", "studiehandledning", "förlorad studieplats", "utkomststöd"),
        "plain name": ("unexcused absences", "grades", "guidance contacts", "loss of a study place", "income support"),
        "the register it comes from": (*4 * ("school register",), "benefit register"),
        "why it is needed": (
            "Growing absence is the earliest sign that a school can act on.",
            "Falling grades precede interrupted studies.",
            "Shows whether the school already helps.",
            "A lost study place is the event after which help is most often needed.",
            "Lack of money makes studies harder to keep up; the young person's own, never the parents'.",
        ),
        "the legal basis, attested by a lawyer (AT-02)": 5 * ("To be attested by the city's lawyer (AT-02).",),
        "the number where people object": ("+358 9 000 0004",),
        "the letter that tells people": ("outreach-youth-work/voluntary-meeting",),
    }
    _changes = {
        "censored_by = []": 'censored_by = ["death", "moved_away"]',
        '# [[indicators]]\n# name = "…"\n# codes = ["…"]': (
            '[[indicators]]\nname = "psychiatric care"\ncodes = ["care.psychiatry.*"]\n'
            '[[indicators]]\nname = "social support"\ncodes = ["social.support.*"]'
        ),
        'codes = ["school.grade"]\nwindows = [90, 365]\nmeasures = ["count"]': (
            'codes = ["school.grade"]\nwindows = [730]\nmeasures = ["last", "trend"]'
        ),
        "every_days = 28": "every_days = 56",
    }
    written = draft
    for _mark, _in_order in _texts.items():
        for _text in _in_order:
            written = written.replace(f"TO DO: {_mark}", _text, 1)
    for _old, _new in _changes.items():
        written = written.replace(_old, _new)
    _sibling = next(need for need in list_needs() if need.id == "youth_exclusion").bytes.decode()
    written = written[: written.index("[register]")] + _sibling[_sibling.index("[register]") :]
    need = parse_need(written.encode(), "losing_touch.toml")
    return need, written


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## 3. Let it be reviewed

    First the file alone, then the file against the city's data. *Blocks*: the gate stops it, and nothing lifts that.
    *Attest*: somebody in a named role has to vouch for it by a signed statement. *Weak*: an auditor will ask.
    """)
    return


@app.cell
def _(answers, city, need):
    remarks = review_need(need, answers.today)
    remarks_in_city, facts = review_in_city(need, city)
    shown([*remarks, *remarks_in_city], "What is still missing")
    return facts, remarks


@app.cell(hide_code=True)
def _(facts, need):
    mo.md(f"""
    {facts["mature"]} of {facts["as_of_dates"]} as-of dates are **mature**: what followed is wholly known. (Where it is
    not, the label is unknown, which is not the same as 0.) On the latest, {facts["latest"]}, **{facts["eligible"]:,}**
    people are eligible, and **{facts["in_need_share"]:.1%}** of them turned out to be in need; the service can make
    {need.capacity.k} attempts in {need.capacity.period_days} days. If everybody eligible could be called, no order
    would be needed, and no model.

    ## 4. Who is left, and who was lost on the way?

    The **attrition table** is the first thing to show to the people who know the work: each step takes away somebody,
    and they can say whether these are the people it was meant to take away. First of those a model learns from, then
    of those it is tested on.
    """)
    return


@app.cell
def _(city, need):
    # Who objected is in no matrix, so every matrix asks. A home keeps its own register; this one is empty.
    objections = ObjectionRegister(create_engine("sqlite://"), b"only for a city nobody lives in")
    laid = lay_out(city, need, objections, SEED, step=silent)
    _parts = {"who teaches": "train", "who is tested": "test"}
    mo.vstack(
        [
            mo.image(
                attrition_plot(laid.attrition.filter(pl.col("part") == part)),
                alt=f"Rows left after each step, of {who}",
            )
            for who, part in _parts.items()
        ]
    )
    return laid, objections


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## 5. The label over time, and the matrix

    The share in need on each as-of date, with its 95 % interval. A level that moves slowly is a city that changes; a
    jump is more often a register that changed its ways; a fall at the end is a reporting delay that is too short.
    Then what each date serves for: a model may learn only from dates whose label was complete when its test date
    came.
    """)
    return


@app.cell
def _(laid):
    label_rate = (
        laid.matrix.keys.select("as_of_date")
        .with_columns(in_need=pl.Series(laid.matrix.y).fill_nan(None))
        .drop_nulls()
        .group_by("as_of_date")
        .agg(people=pl.len(), share=pl.col("in_need").mean())
        .sort("as_of_date")
        .with_columns(error=1.96 * (pl.col("share") * (1 - pl.col("share")) / pl.col("people")).sqrt())
    )
    return (label_rate,)


@app.cell(hide_code=True)
def _(label_rate, laid):
    _figure = Figure(figsize=(8.4, 3.2), layout="constrained")
    _axes = _figure.subplots()
    _axes.spines[["top", "right"]].set_visible(False)
    _axes.errorbar(
        label_rate["as_of_date"], label_rate["share"], label_rate["error"], fmt="o", color=BLUE, capsize=3, ms=5
    )
    _axes.set_ylim(bottom=0)
    _axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    _axes.xaxis.set_major_locator(AutoDateLocator())
    _axes.xaxis.set_major_formatter(ConciseDateFormatter(AutoDateLocator()))
    _axes.set_xlabel("as-of date")
    _axes.set_ylabel("in need within 180 days")
    _page = io.BytesIO()
    _figure.savefig(_page, format="png", dpi=110)
    _split = laid.split
    mo.vstack(
        [
            mo.image(_page.getvalue(), alt="Share in need on each as-of date"),
            mo.image(
                split_timeline(_split.timeline(), _split.kind, _split.extract_date),
                alt="Which as-of dates teach and which are tested, origin by origin",
            ),
        ]
    )
    return


@app.cell
def _(laid):
    # What the model will read: how full each column is, and its mean among those in need and the rest.
    _X, _y = laid.matrix.X, laid.matrix.y
    columns = pl.DataFrame(
        {
            "column": laid.matrix.names,
            "filled": np.isfinite(_X).mean(axis=0),
            "mean_in_need": np.nanmean(_X[_y == 1], axis=0),
            "mean_of_the_rest": np.nanmean(_X[_y == 0], axis=0),
        }
    )
    table(columns, "What the model reads", filled="{:.0%}", mean_in_need="{:.3g}", mean_of_the_rest="{:.3g}")
    return (columns,)


@app.cell(hide_code=True)
def _(columns, laid):
    _only = columns.filter((pl.col("mean_of_the_rest") < 0.1 * pl.col("mean_in_need")) & (pl.col("mean_in_need") > 0))
    _names = " and ".join(f"`{name}`" for name in _only["column"]) or "none"
    mo.md(f"""
    The matrix has {laid.matrix.X.shape[0]:,} rows and {laid.matrix.X.shape[1]} columns. Columns that hardly occur but
    among those in need: {_names}. Such a column is either a gift or a **leak**: ask the register whether it is written
    down before the outcome, or because of it. If it is the outcome under another name, leave those people out of the
    cohort (the service knows them already), or let the label begin later (`starts_after_days`). An AUC above
    `plausible_auc_max` makes the gate ask the same question.
    """)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## 6. A first model, beside everything simpler

    `run_experiment` trains one model per test date with what could be known by then, and ranks the same people by
    chance, by what the unit does today, by the best single column, by district, and by a logistic regression. The dot
    is the number of people in need among those called, the bar its 95 % interval. *Precision* is the share of the
    called who are in need, *recall* the share of those in need who are called.
    """)
    return


@app.cell
def _(city, laid, need, objections):
    experiment = run_experiment(city, need, objections, SEED, silent, laid=laid)
    mo.image(
        baselines_plot(experiment.baselines, need.capacity.k),
        alt="People in need found by the model and by simpler orders in the same number of places",
    )
    return (experiment,)


@app.cell
def _(experiment, need):
    _tested = experiment.tested
    _rows = {
        "label": _tested["label"].to_numpy(),
        "person": _tested["person_id"].to_numpy(),
        "period": _tested["origin"].to_physical().to_numpy(),
        "seed": SEED,
    }
    curve = k_curve(rank_score=_tested["rank_score"].to_numpy(), **_rows)
    rule_curve = k_curve(rank_score=_tested["rule_score"].to_numpy(), **_rows)
    mo.image(
        ranking_curve(curve, need.capacity.k, rule_curve),
        alt="Precision, recall and lift of lists of every length, of the model and of the unit's rule",
    )
    return curve, rule_curve


@app.cell(hide_code=True)
def _(experiment):
    _plain = {
        "auc": "AUC: how often somebody in need stands above somebody who is not",
        "precision_at_capacity": "precision at capacity",
        "recall_at_capacity": "recall at capacity",
        "calibration_slope": "calibration slope (1: as strong as promised)",
        "calibration_intercept": "calibration intercept (0: as many as promised)",
    }
    figures = pl.DataFrame(
        [
            {"measure": words, "value": found.value, "low": found.low, "high": found.high}
            for name, words in _plain.items()
            for found in [experiment.metrics[name]]
        ]
    )
    table(figures, "Over all test dates, with 95 % intervals", **dict.fromkeys(("value", "low", "high"), "{:.3f}"))
    return (figures,)


@app.cell(hide_code=True)
def _(experiment):
    _rule = experiment.baselines.filter(pl.col("order") == "unit_rule").row(0, named=True)
    _low, _high = _rule["difference_found_low"], _rule["difference_found_high"]
    if _low > 0:
        _said = "The model finds more than the unit's rule, and the interval says that this is no luck of the draw."
    elif _high < 0:
        _said = "The model finds **fewer** than the unit's rule. Keep the rule."
    else:
        _said = "The interval holds 0: on so few people the model and the unit's rule **cannot be told apart**."
    _advice = experiment.advice or "At the audit cut the model clearly beats every simple order: it is worth a verdict."
    mo.md(f"""
    ## What did we learn?

    In the judged period, people in need found by the model less those found by the unit's rule:
    {_rule["difference_found"]:+.1f} (95 % interval {_low:+.1f} to {_high:+.1f}). {_said}

    The gate looks further down the list, where the call lists of a whole year end (the **audit cut**). Its advice:
    *{_advice}*

    A tie is a result: the rule is free, everybody understands it, and nobody has to keep a model alive.
    `03_compare_models.py` goes on from here. To keep the need, write `written` to `needs/losing_touch.toml`; then
    `ennakko needs check needs/losing_touch.toml`, and `ennakko train --city CITY --need needs/losing_touch.toml`,
    which logs all of the above in MLflow.
    """)
    return


@app.cell
def test_the_file_has_no_marks_left_and_the_tables_add_up(experiment, laid, need, remarks):
    """Everything was filled in, and the steps of the attrition table end with the rows that are used."""
    assert not [remark for remark in remarks if remark.weight == "blocks"]
    _left = laid.attrition.group_by("part", maintain_order=True).last()["rows"].sum()
    assert _left <= laid.matrix.keys.height
    assert experiment.baselines["order"].to_list()[:3] == ["model", "chance", "unit_rule"]
    assert experiment.judged.keys.height >= need.capacity.k
    return


@app.function(hide_code=True)
def silent(text, done=0, total=0):
    """Told what is being done; says nothing."""


@app.function(hide_code=True)
def shown(remarks, caption):
    """Remarks of a review as a table."""
    return table(pl.DataFrame([remark._asdict() for remark in remarks]), caption)


@app.function(hide_code=True)
def table(frame, caption, **formats):
    """A table to read, not to select from."""
    plain = frame.rename({name: name.replace("_", " ") for name in frame.columns})
    return mo.ui.table(
        plain,
        selection=None,
        pagination=False,
        show_column_summaries=False,
        show_data_types=False,
        show_download=False,
        wrapped_columns=[name for name, kind in plain.schema.items() if kind == pl.String],
        format_mapping={name.replace("_", " "): form for name, form in formats.items()},
        label=caption,
    )


if __name__ == "__main__":
    app.run()
