"""Of several models for one need, which do we keep, whom would each of them list, and what do we do on a tie?

Open it with ``marimo edit notebooks/03_compare_models.py``; run it as a script to see that it works.
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="3 · Compare models")

with app.setup(hide_code=True):
    import io
    import re
    import tempfile
    from pathlib import Path

    import marimo as mo
    import numpy as np
    import polars as pl
    from matplotlib.figure import Figure
    from sqlalchemy import create_engine

    from ethics import ObjectionRegister
    from features import open_city, synthetic_city
    from models import (
        choose,
        error_crosstab,
        evaluate,
        found_difference,
        k_curve,
        lay_out,
        list_needs,
        list_overlap,
        net_benefit,
        parse_need,
        run_experiment,
        split_timeline,
        subset_performance,
    )

    BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#595959"  # told apart by any colour vision
    SEED = 0
    FULL, LEAN, COLUMN, RULE = "with laboratory", "without laboratory", "best single column", "the unit's rule"


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 3 · Compare models

    **Of several models for one need, which do we keep, whom would each of them list, and what do we do on a tie?**

    The need is `health_benefit`: whom a nurse should call about a health check. One model reads everything the need
    file names. The other does without laboratory values: fewer sensitive data, one flow of data less to keep running,
    and a model that reads the same of those who never had a test. Data minimisation is not free, and not always dear;
    this notebook measures the price. Beside both stand orders that need no model: the best single column, and what the
    unit does today.

    The city is **invented**: nobody in it exists. For your own, replace the cell that invents it by
    `city = open_city("path/to/city")`. No person's id is shown anywhere.
    """)
    return


@app.cell
def _():
    with tempfile.TemporaryDirectory() as _folder:
        synthetic_city(Path(_folder) / "city", 3_000, seed=5)
        city = open_city(Path(_folder) / "city")
    return (city,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Two need files that differ in one thing

    A second file, the same but for the features that it leaves out, is the cleanest comparison there is: cohort,
    label, test dates and capacity are the same by construction. Vary one thing at a time; a group of parameters is
    compared in the same way, by `run_experiment(..., parameters={...})`.
    """)
    return


@app.cell
def _():
    _bundled = next(need for need in list_needs() if need.id == "health_benefit").bytes.decode()
    full = parse_need(_bundled.encode(), "health_full.toml")
    _laboratory = ["blood_sugar", "blood_pressure", "cholesterol", "kidney", "body_mass"]
    lean = parse_need(without(_bundled, _laboratory).encode(), "health_lean.toml")
    mo.md(f"`{full.id}` reads {len(full.columns)} columns, `{lean.id}` {len(lean.columns)}.")
    return full, lean


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## The same past, replayed

    Each **origin** is a day on which a list could have been printed. Its model learns only from labels that were
    complete on that day (bars), and is tested on what came after. One test date may be luck; several show whether one
    model is better *again and again*.
    """)
    return


@app.cell
def _(city, full, lean):
    # Who objected is in no matrix, so every matrix asks. A home keeps its own register; this one is empty.
    _objections = ObjectionRegister(create_engine("sqlite://"), b"only for a city nobody lives in")
    laid = {need.id: lay_out(city, need, _objections, SEED, silent) for need in (full, lean)}
    _runs = [
        run_experiment(city, need, _objections, SEED, silent, laid=laid[need.id], parameters={"n_estimators": 60})
        for need in (full, lean)
    ]
    experiments = dict(zip((FULL, LEAN), _runs, strict=True))
    split = experiments[FULL].split
    mo.image(
        split_timeline(split.timeline(), split.kind, split.extract_date),
        alt="Which as-of dates teach and which are tested, origin by origin",
    )
    return experiments, laid


@app.cell
def _(experiments, full):
    tested = experiments[FULL].tested  # the same people on the same dates in both, so that orders compare row by row
    k = full.capacity.k
    scores = {
        FULL: tested["rank_score"].to_numpy(),
        LEAN: experiments[LEAN].tested["rank_score"].to_numpy(),
        COLUMN: tested["best_column"].to_numpy(),
        RULE: tested["rule_score"].to_numpy(),
    }
    label = tested["label"].fill_null(np.nan).to_numpy()
    person = tested["person_id"].to_numpy()
    period = tested["origin"].to_physical().to_numpy()
    return k, label, period, person, scores, tested


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Figures by origin, and regret

    **Recall at capacity**: of those who turned out to be in need, the share among the people called. The intervals
    come from drawing persons, not rows. **Regret** of a model at an origin is the best figure any had there, less its
    own: what was lost that time by having kept this one. Choose by mean regret over time, not by the best day.
    """)
    return


@app.cell
def _(k, label, period, person, scores, tested):
    _rows = []
    for _day in tested["origin"].unique().sort():
        _on = (tested["origin"] == _day).to_numpy()
        for _group, _score in scores.items():
            _found = evaluate(
                label=label[_on],
                rank_score=_score[_on],
                probability=None,
                person=person[_on],
                k=k,
                seed=SEED,
            )["recall_at_capacity"]
            _rows.append(
                {"group": _group, "origin": _day, "figure": _found.value, "low": _found.low, "high": _found.high}
            )
    figures = pl.DataFrame(_rows)
    return (figures,)


@app.cell(hide_code=True)
def _(figures, scores):
    _figure, _axes = drawing(height=3.4)
    _days = figures["origin"].unique().sort().to_list()
    for _place, (_group, _color, _mark) in enumerate(zip(scores, (BLUE, ORANGE, GREEN, GREY), "osD^", strict=True)):
        _own = figures.filter(pl.col("group") == _group).sort("origin")
        _at = np.arange(len(_days)) + 0.12 * (_place - 1.5)
        _reach = np.abs(_own.select("low", "high").to_numpy().T - _own["figure"].to_numpy())
        _axes.errorbar(_at, _own["figure"], _reach, fmt=_mark, color=_color, capsize=3, label=_group)
    _axes.set_xticks(range(len(_days)), [str(day) for day in _days])
    _axes.set_ylim(bottom=0)
    _axes.set_xlabel("test date")
    _axes.set_ylabel("recall at capacity, 95 % interval")
    _axes.legend(ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
    picture(_figure, "Recall at capacity of each model at each test date")
    return


@app.cell
def _(figures):
    by_regret = choose(figures, simplest=[RULE, COLUMN, LEAN, FULL])
    table(by_regret, "By mean regret; ties go to the simpler one", mean_regret="{:.3f}", worst_regret="{:.3f}")
    return (by_regret,)


@app.cell(hide_code=True)
def _(figures, scores):
    _figure, _axes = drawing(height=3.2)
    _regret = figures.with_columns(regret=pl.col("figure").max().over("origin") - pl.col("figure")).sort("origin")
    for _group, _color, _line in zip(scores, (BLUE, ORANGE, GREEN, GREY), ("o-", "s--", "D-.", "^:"), strict=True):
        _own = _regret.filter(pl.col("group") == _group)
        _axes.plot(_own["origin"].cast(pl.String), _own["regret"], _line, color=_color, label=_group)
    _axes.set_ylim(bottom=-0.002)
    _axes.set_xlabel("test date")
    _axes.set_ylabel("recall below the best of that date")
    _axes.legend(ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
    picture(_figure, "Regret of each model at each test date")
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Is it a tie?

    Intervals that overlap do not say that two models are alike, and a higher figure does not say that they differ. The
    **paired difference** does: the same persons are drawn for both, so what they share cancels out. Here the best by
    regret against each of the others, on the last test date, in people in need found. The best was picked on this date
    too, among others, which flatters it: a difference that is not clear even so is a tie.
    """)
    return


@app.cell
def _(by_regret, k, label, person, scores, tested):
    best = by_regret["group"][0]
    _last = (tested["origin"] == tested["origin"].max()).to_numpy()
    _rows = []
    for _group in scores:
        if _group != best:
            _ours, _theirs, _gap = found_difference(
                label=label[_last],
                ours=scores[best][_last],
                theirs=scores[_group][_last],
                person=person[_last],
                k=k,
                seed=SEED,
            )
            _rows.append(
                {
                    "rival": _group,
                    "found_by_it": _theirs.value,
                    "found_by_the_best": _ours.value,
                    "difference": _gap.value,
                    "low": _gap.low,
                    "high": _gap.high,
                }
            )
    differences = pl.DataFrame(_rows).with_columns(tied=pl.col("low") <= 0)
    table(
        differences,
        f"'{best}' less each rival, in {k} places",
        **dict.fromkeys(("found_by_it", "found_by_the_best"), "{:.1f}"),
        **dict.fromkeys(("difference", "low", "high"), "{:+.1f}"),
    )
    return best, differences


@app.cell
def _(differences, figures):
    # A simpler group that cannot be told from the best is chosen in its place.
    _tied = differences.filter("tied")["rival"].to_list()
    chosen = choose(figures, simplest=[RULE, COLUMN, LEAN, FULL], tied=_tied)["group"][0]
    mo.md(f"Kept: **{chosen}**.")
    return (chosen,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Every length of the list

    Capacity changes: a nurse falls ill, another is hired. The curves show the same comparison for every number of
    places; the band
    is the 95 % interval. Two models that cross at some length are not "better" and "worse": they are
    better at the top, or further down.
    """)
    return


@app.cell
def _(label, period, person, scores):
    curves = {
        group: k_curve(label=label, rank_score=scores[group], person=person, period=period, seed=SEED)
        for group in (FULL, LEAN, RULE)
    }
    return (curves,)


@app.cell(hide_code=True)
def _(curves, k):
    _figure, _panels = drawing(width=9.4, height=3.6, panels=(1, 2))
    for _axes, _measure in zip(_panels, ("precision", "recall"), strict=True):
        for (_group, _curve), _color, _line in zip(
            curves.items(), (BLUE, ORANGE, GREY), ("-", "--", "-."), strict=True
        ):
            _long = _curve.filter(pl.col("k") >= 5)
            _axes.plot(_long["k"], _long[_measure], color=_color, ls=_line, label=_group)
            if _group != RULE:
                _band = (_long[f"{_measure}_low"], _long[f"{_measure}_high"])
                _axes.fill_between(_long["k"], *_band, color=_color, alpha=0.15, lw=0)
        _axes.axvline(k, color=GREY, ls=":", lw=1)
        _axes.set_xscale("log")
        _axes.xaxis.set_major_formatter("{x:,.0f}")
        _axes.set_xlabel(f"places on the list of a period (dotted: {k})")
        _axes.set_ylabel(_measure)
        _axes.set_ylim(bottom=0)
    _panels[0].legend(frameon=False)
    picture(_figure, "Precision and recall of lists of every length, of both models and the unit's rule")
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Whom would each of them list?

    Two models with the same figures may list different people; then the choice is not about accuracy but about *who is
    called*. `shared` counts places over all test dates; *Jaccard* is shared places divided by people on either list.
    Below, the errors of the two models side by side: those in need whom only one of them finds are the ones to look at
    together with the people who know the work.
    """)
    return


@app.cell
def _(k, scores, tested):
    overlap = list_overlap(tested, scores, k, SEED)
    crosstab = error_crosstab(tested, scores[LEAN], k)
    mo.vstack(
        [
            table(
                overlap, f"Lists of {k} places", **dict.fromkeys(("jaccard", "low", "high"), "{:.2f}"), shared="{:.0f}"
            ),
            table(
                crosstab.rename({"ours": FULL, "other": LEAN}),
                f"Whom '{FULL}' and '{LEAN}' list, by what happened",
                rows="{:.1f}",
                share="{:.1%}",
            ),
        ]
    )
    return crosstab, overlap


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Does it work for everybody?

    An average hides. Each part of the people is **ranked anew by itself** and gets places at the same share, so that
    a part is not punished for having less need. People *without a blood pressure in two years* are those whom
    laboratory values cannot help to find; *never seen in training* are persons from whom the model has learnt
    nothing. Parts by language, sex or disability are for the ethics room alone: no notebook opens them, and `ennakko
    judge` measures them.
    """)
    return


@app.cell
def _(experiments, full, k, laid, tested):
    _matrix = laid[full.id].matrix
    _known = pl.DataFrame(
        {
            "age": _matrix.X[:, _matrix.names.index("age")],
            "untested": np.isnan(_matrix.X[:, _matrix.names.index("blood_pressure.last.730d")]),
        }
    ).hstack(_matrix.keys)
    _of_tested = tested.join(_known, on=["person_id", "as_of_date"], how="left", maintain_order="left")
    _subsets = {
        "aged 30 to 64": (_of_tested["age"] < 65).to_numpy(),
        "aged 65 to 89": (_of_tested["age"] >= 65).to_numpy(),
        "no blood pressure in two years": _of_tested["untested"].to_numpy(),
        "never seen in training": ~tested["seen_in_training"].to_numpy(),
    }
    subsets = pl.concat(
        subset_performance(experiment.tested, _subsets, k, SEED).with_columns(model=pl.lit(name))
        for name, experiment in experiments.items()
    )
    return (subsets,)


@app.cell(hide_code=True)
def _(subsets):
    _figure, _axes = drawing(height=3.4)
    _parts = subsets["subset"].unique(maintain_order=True).to_list()
    for _shift, _model, _color, _mark in ((-0.12, FULL, BLUE, "o"), (0.12, LEAN, ORANGE, "s")):
        _own = subsets.filter(pl.col("model") == _model)
        _value = _own["auc"].to_numpy()
        _reach = np.abs(_own.select("auc_low", "auc_high").to_numpy().T - _value)
        _axes.errorbar(
            _value, np.arange(len(_parts)) + _shift, xerr=_reach, fmt=_mark, color=_color, capsize=3, label=_model
        )
    _sizes = subsets.head(len(_parts))
    _axes.set_yticks(
        range(len(_parts)),
        [
            f"{part}\n{in_need} of {n:,} rows in need"
            for part, in_need, n in _sizes.select("subset", "in_need", "n").rows()
        ],
    )
    _axes.axvline(0.5, color=GREY, ls=":")
    _axes.invert_yaxis()
    _axes.set_xlabel("AUC inside the part, 95 % interval (dotted: chance)")
    _axes.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1))
    picture(_figure, "AUC of both models inside parts of the people")
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Is calling by the model worth it at all?

    **Net benefit** puts a price on needless calls: at a threshold of 10 %, one person found is worth nine needless
    calls (Vickers and Elkin 2006). A model earns its keep at the thresholds where its curve lies above both calling
    everyone and calling nobody; where two models' bands lie on each other, the cheaper one will do.
    """)
    return


@app.cell
def _(experiments, label, person):
    _highest = min(float(experiment.tested["probability"].max()) for experiment in experiments.values())
    benefits = {
        name: net_benefit(
            label=label,
            probability=experiment.tested["probability"].to_numpy(),
            person=person,
            thresholds=np.linspace(0.005, 0.9 * _highest, 40),
            seed=SEED,
        )
        for name, experiment in experiments.items()
    }
    return (benefits,)


@app.cell(hide_code=True)
def _(benefits):
    _figure, _axes = drawing(height=3.6)
    for (_name, _curve), _color, _line in zip(benefits.items(), (BLUE, ORANGE), ("-", "--"), strict=True):
        _axes.plot(_curve["threshold"], _curve["model"], color=_color, ls=_line, label=_name)
        _axes.fill_between(_curve["threshold"], _curve["low"], _curve["high"], color=_color, alpha=0.15, lw=0)
    _axes.plot(_curve["threshold"], _curve["everyone"], color=GREEN, ls="-.", label="call everyone")
    _axes.axhline(0, color=GREY, ls=":", label="call nobody")
    _top = max(float(curve["high"].max()) for curve in benefits.values())
    _axes.set_ylim(-0.25 * _top, 1.05 * _top)
    _axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    _axes.set_xlabel("threshold: probability of need from which a call is worth its cost")
    _axes.set_ylabel("net benefit per person")
    _axes.legend(frameon=False)
    picture(_figure, "Net benefit of both models at every threshold, beside calling everyone and nobody")
    return


@app.cell(hide_code=True)
def _(best, chosen, differences, experiments, overlap):
    _both = overlap.filter((pl.col("a") == FULL) & (pl.col("b") == LEAN)).row(0, named=True)
    _tied = differences.filter("tied")["rival"].to_list()
    _said = (
        f"the best by regret, *{best}*, cannot be told from {' and '.join(f'*{one}*' for one in _tied)}, "
        f"so the simplest of them is kept: **{chosen}**"
        if _tied
        else f"**{best}** is clearly better than everything simpler"
    )
    _gate = experiments[FULL].advice or (
        "the model with laboratory values clearly finds more there than every simple order. That is no contradiction "
        "to a tie within one period: orders that agree on the first places may part further down."
    )
    mo.md(f"""
    ## What to do on a tie

    Within the places of one period {_said}. The two models share {_both["jaccard"]:.0%} of the people on either list.

    The gate looks further down, to where the lists of a whole verdict's life end (the **audit cut**): {_gate}

    1. **Take the simpler one**: a rule before a model, fewer registers before more, fewer columns before more. What is
       not read cannot leak or break.
    2. If they list **different people**, ask who is called under each before anything else; where you can, call from
       both lists and find out.
    3. **Wait for more data** rather than for a better method: the intervals shrink with people and dates, not with
       trees.
    4. Never try settings until one wins on the last test date. Search on the past (`search`, or
       `ennakko train --search 20`), and let the judged date speak once.
    """)
    return


@app.cell
def test_both_models_rank_the_same_people(chosen, experiments, figures, scores):
    """Orders compare row by row only if the rows are the same; and what is chosen is one of those compared."""
    _keys = [experiment.tested.select("person_id", "as_of_date", "label") for experiment in experiments.values()]
    assert _keys[0].equals(_keys[1])
    assert chosen in scores
    assert figures["figure"].is_between(0, 1).all()
    return


@app.function(hide_code=True)
def without(text, features):
    """A need file's text less some features, and less the directions that the model was told to keep for them."""
    parts = re.split(r"(?m)^(?=\[)", text)
    kept = [p for p in parts if not any(p.startswith("[[features]]") and f'name = "{name}"' in p for name in features)]
    directions = "|".join(features)
    return re.sub(rf'"(?:{directions})\.[^"]*" = -?1,? ?', "", "".join(kept))


@app.function(hide_code=True)
def silent(text, done=0, total=0):
    """Told what is being done; says nothing."""


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
        format_mapping={name.replace("_", " "): form for name, form in formats.items()},
        label=caption,
    )


@app.function(hide_code=True)
def drawing(width=8.4, height=3.4, panels=(1, 1)):
    """A figure without pyplot's hidden state, and its axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(*panels)
    for one in np.ravel(axes):
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes


@app.function(hide_code=True)
def picture(figure, alt):
    """The figure as an image with a text for those who do not see it."""
    page = io.BytesIO()
    figure.savefig(page, format="png", dpi=110)
    return mo.image(page.getvalue(), alt=alt)


if __name__ == "__main__":
    app.run()
