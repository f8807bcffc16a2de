"""What does a city know, of whom, since when and how late, and what does it not know?

Open it with ``marimo edit notebooks/01_meet_the_city.py``; run it as a script to see that it works.
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="1 · Meet the city")

with app.setup(hide_code=True):
    import io
    import tempfile
    from datetime import date, timedelta
    from pathlib import Path

    import marimo as mo
    import numpy as np
    import polars as pl
    from matplotlib.dates import DateFormatter, YearLocator
    from matplotlib.figure import Figure
    from sqlalchemy import create_engine

    from ethics import ObjectionRegister
    from features import CohortSpec, FeatureSpec, build_cohort, build_matrix, open_city, synthetic_city

    BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#595959"  # told apart by any colour vision


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 1 · Meet the city

    **What does this city know, of whom, since when and how late, and what does it not know?**

    No model is better than the answer. A register that began last year makes everybody look well the year before; a
    record that comes six weeks late is not there on the day the list is printed; and who is in no register at all is
    not well, but unseen. So before any need is written down, look.

    The city below is **invented**: nobody in it exists. For your own, replace the cell that invents it by
    `city = open_city("path/to/city")`; the rest stays as it is. No person's id is shown anywhere, and a count of
    fewer than five persons is not told.
    """)
    return


@app.cell
def _():
    with tempfile.TemporaryDirectory() as _folder:
        synthetic_city(Path(_folder) / "city", 4_000, seed=11)
        city = open_city(Path(_folder) / "city")
    return (city,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## At a glance

    An **event** is something that happened to a person on a day: a code, perhaps a value, and the day the city came to
    know it. The **extract date** is the last day the data speak of, and the only "today" there is. A **reject** is a
    row that the door did not let in, such as one without a date, or known before it happened.
    """)
    return


@app.cell
def _(city):
    _log = city.events
    _person = np.repeat(np.arange(len(_log.person_ids)), np.diff(_log.offsets))  # a number, never an id
    _known = _log.time if _log.known is None else _log.known
    events = pl.DataFrame(
        {
            "person": _person,
            "code": pl.Series(_log.codes)[_log.code.astype(np.int64)],
            "happened": pl.Series(_log.time).cast(pl.Datetime("us")).dt.date(),
            "known": pl.Series(_known).cast(pl.Datetime("us")).dt.date(),
            "value": pl.Series(_log.value).fill_nan(None),
        }
    ).join(city.codes.select("code", name="en", register="source"), on="code", how="left")
    return (events,)


@app.cell
def _(city, events):
    mo.hstack(
        [
            mo.stat(f"{city.persons.height:,}", label="persons"),
            mo.stat(f"{events.height:,}", label="events"),
            mo.stat(events["code"].n_unique(), label="codes"),
            mo.stat(events["register"].n_unique(), label="registers"),
            mo.stat(events["happened"].min(), label="first event"),
            mo.stat(city.extract_date, label="extract date"),
            mo.stat(f"{city.rejects.height:,}", label="rejects"),
        ],
        justify="space-between",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Of whom?

    Residents by age on the extract date (those who died or moved away are not counted), and how many of them have
    **any** event of the last year. Library and sports visits are left out: they would make everybody look known. Where
    grey shows above the orange, a model has nothing to read of a person, and no method of ranking mends that.
    """)
    return


@app.cell
def _(city, events):
    _year_ago = city.extract_date - timedelta(days=365)
    _seen = events.filter((pl.col("happened") >= _year_ago) & (pl.col("register") != "leisure services"))
    _gone = events.filter(pl.col("code").is_in(["death", "moved_away"]))
    residents = pl.DataFrame(
        {
            "person": np.arange(city.persons.height),
            "age": (city.extract_date.year - city.persons["birth_date"].dt.year()) // 5 * 5,
        }
    ).filter(~pl.col("person").is_in(_gone["person"].unique().implode()))
    by_age = (
        residents.with_columns(seen=pl.col("person").is_in(_seen["person"].unique().implode()))
        .group_by("age")
        .agg(persons=pl.len(), seen=pl.col("seen").sum())
        .filter(pl.col("persons") >= 5)
        .sort("age")
    )
    return (by_age,)


@app.cell(hide_code=True)
def _(by_age):
    _figure, _axes = drawing(height=3.4)
    _axes.bar(by_age["age"], by_age["persons"], 4.6, align="edge", color=GREY, alpha=0.35, label="all residents")
    _axes.bar(by_age["age"], by_age["seen"], 4.6, align="edge", color=ORANGE, label="with an event of the last year")
    _axes.set_xlabel("age in years, by the year of birth")
    _axes.set_ylabel("persons")
    _axes.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
    picture(_figure, "Residents by age, and how many of them have an event of the last year")
    return


@app.cell(hide_code=True)
def _(by_age):
    _share = by_age.with_columns(share=pl.col("seen") / pl.col("persons")).sort("share")
    _least, _most = _share.row(0, named=True), _share.row(-1, named=True)
    mo.md(f"""
    Least is known of those aged {_least["age"]} to {_least["age"] + 4}: {_least["share"]:.0%} of them have an event of
    the last year; of those aged {_most["age"]} to {_most["age"] + 4}, {_most["share"]:.0%}.
    """)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Since when?

    Each row is a register, each cell a month; dark is the register's own busiest month, and white is silence. Look for
    a row that begins late or stops early (a feature must not reach over the edge), for a white column (an export that
    failed), and for seasons: schools are all but silent in July, so a window of 30 days before 1 August sees next to
    nothing of anybody.
    """)
    return


@app.cell
def _(events):
    by_month = (
        events.with_columns(month=pl.col("happened").dt.truncate("1mo"))
        .group_by("register", "month")
        .agg(events=pl.len())
        .sort("month")
        .pivot("month", index="register", values="events")
        .fill_null(0)
        .sort("register")
    )
    return (by_month,)


@app.cell(hide_code=True)
def _(by_month):
    _counts = by_month.drop("register").to_numpy()
    _months = by_month.columns[1:]
    _figure, _axes = drawing(height=0.9 + 0.3 * by_month.height)
    _relative = np.where(_counts > 0, _counts / _counts.max(axis=1, keepdims=True), np.nan)
    _axes.imshow(_relative, aspect="auto", cmap="cividis_r", vmin=0)
    _axes.set_yticks(range(by_month.height), by_month["register"].to_list())
    _januaries = [i for i, month in enumerate(_months) if month[5:7] == "01"]
    _axes.set_xticks(_januaries, [_months[i][:4] for i in _januaries])
    _axes.set_xlabel("month of the event; a tick stands at January")
    picture(_figure, "Events by register and month, relative to the busiest month of the register")
    return


@app.cell
def _(events):
    register = mo.ui.dropdown(
        sorted(events["register"].unique()), value="school register", label="Codes over time of the"
    )
    mo.hstack([register], justify="start")
    return (register,)


@app.cell(hide_code=True)
def _(events, register):
    _of_register = events.filter(pl.col("register") == register.value)
    _codes = _of_register["code"].value_counts(sort=True).head(12)["code"].sort().to_list()
    _first, _last = _of_register["happened"].min().replace(day=1), events["happened"].max()
    _months = pl.DataFrame({"month": pl.date_range(_first, _last, "1mo", eager=True)})
    _rows = -(-len(_codes) // 3)
    _figure, _panels = drawing(height=1.25 * _rows + 0.5, panels=(_rows, 3))
    for _axes, _code in zip(np.ravel(_panels), _codes, strict=False):
        _own = _of_register.filter(pl.col("code") == _code).group_by(month=pl.col("happened").dt.truncate("1mo")).len()
        _shown = _months.join(_own, on="month", how="left").fill_null(0)
        _axes.plot(_shown["month"], _shown["len"], color=BLUE, lw=1.2)
        _axes.set_title(_code, fontsize=8, loc="left")
        _axes.set_ylim(bottom=0)
        _axes.tick_params(labelsize=7)
        _axes.xaxis.set_major_locator(YearLocator(1 + _months.height // 72))
        _axes.xaxis.set_major_formatter(DateFormatter("%Y"))
    for _axes in np.ravel(_panels)[len(_codes) :]:
        _axes.set_axis_off()
    picture(_figure, f"Events by month of each code of the {register.value}")
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## How late?

    The **knowledge delay** is the days from an event to the day the city knew it. Read the curve so: of what happened
    so many days ago, this share is known today. Where a curve has not reached the top, a window that ends on the
    as-of date sees only part of what happened, and always the same part that the list will see; that is why the
    engine counts an event only if it was *known* before the as-of date. Shown are the six slowest registers; the
    dotted line is 30 days.
    """)
    return


@app.cell
def _(events):
    late = events.with_columns(delay=(pl.col("known") - pl.col("happened")).dt.total_days())
    return (late,)


@app.cell(hide_code=True)
def _(late):
    _days = np.arange(0, 91)
    _figure, _axes = drawing(height=3.8)
    _latest = late.group_by("register").agg(mean=pl.col("delay").mean()).sort("mean", descending=True)
    for _place, _register in enumerate(_latest.filter(pl.col("mean") > 0)["register"].head(6)):
        _own = np.sort(late.filter(pl.col("register") == _register)["delay"].to_numpy())
        _share = np.searchsorted(_own, _days, side="right") / _own.size
        _color, _line = (BLUE, ORANGE, GREEN)[_place % 3], ("-", "--")[_place // 3]
        _axes.step(_days, _share, where="post", color=_color, ls=_line, label=_register)
    _axes.axvline(30, color=GREY, ls=":", lw=1)
    _axes.set(xlim=(0, 90), ylim=(None, 1.01), xlabel="days since the event", ylabel="share known by then")
    _axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    _axes.legend(loc="lower right", frameon=False)
    picture(_figure, "Share of the events of the six slowest registers known so many days after they happened")
    return


@app.cell
def _(late):
    delays = (
        late.group_by("code", "name", "register")
        .agg(
            events=pl.len(),
            known_late=(pl.col("delay") > 0).mean(),
            half_known_after_days=pl.col("delay").quantile(0.5, "higher").cast(pl.Int64),
            nearly_all_known_after_days=pl.col("delay").quantile(0.95, "higher").cast(pl.Int64),
        )
        .filter(pl.col("events") >= 5)
        .sort("nearly_all_known_after_days", "code", descending=[True, False])
    )
    shown(
        delays.head(12),
        "The latest codes; 'nearly all' is 95 %. A label of such a code needs a reporting delay of that many days",
    )
    return (delays,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## What is missing?

    By register: how many persons it ever speaks of, since when, in how many whole months of that time it is silent,
    and how often a value is missing of a code that has values. Silence is not health: `persons` is the number who
    *could* be found by it, and everybody else is invisible to a model that reads only this register.
    """)
    return


@app.cell
def _(city, events, late):
    _has_values = pl.col("value").is_not_null().any().over("code")
    _month = pl.col("happened").dt.year() * 12 + pl.col("happened").dt.month()
    missing = (
        late.with_columns(wanted=_has_values)
        .group_by("register")
        .agg(
            codes=pl.col("code").n_unique(),
            events=pl.len(),
            persons=pl.col("person").n_unique(),
            since=pl.col("happened").min(),
            silent_months=1 + _month.max() - _month.min() - _month.n_unique().cast(pl.Int32),
            values_missing=(pl.col("wanted") & pl.col("value").is_null()).sum() / pl.col("wanted").sum(),
            known_late=(pl.col("delay") > 0).mean(),
        )
        .with_columns(
            share_of_persons=pl.when(pl.col("persons") >= 5).then(pl.col("persons") / city.persons.height),
            persons=pl.when(pl.col("persons") >= 5).then("persons"),
            values_missing=pl.col("values_missing").fill_nan(None),
        )
        .sort("persons", descending=True)
    )
    _nowhere = city.persons.height - events.filter(pl.col("register") != "leisure services")["person"].n_unique()
    _undated = city.persons["birth_date"].null_count()
    mo.vstack(
        [
            shown(missing, "What each register says, and of how many"),
            mo.md(
                f"In no register but that of leisure: **{few(_nowhere)}** persons. "
                f"Without a date of birth: **{few(_undated)}**."
            ),
        ]
    )
    return (missing,)


@app.cell
def _(city):
    _whole = city.persons.height
    attributes = city.history.group_by("attribute").agg(
        values=pl.col("value").n_unique(),
        entries=pl.len(),
        persons_without=_whole - pl.col("person_id").n_unique(),
        changed=(pl.len() - pl.col("person_id").n_unique()) / _whole,
        known_late=(pl.col("knowledge_date") > pl.col("from_date")).mean(),
    )
    shown(attributes.sort("attribute"), "What changes for a person; 'changed' is changes for each person of the city")
    return (attributes,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## One cell of a matrix, explained by events

    A model reads a matrix: a row is a person on an as-of date, a column is a measure over a window. Here is one cell,
    taken apart: `absence.count.90d`, the absences from school in the 90 days before the as-of date, of somebody whose
    absences were partly known late. An event counts if it happened in the window **and** was known before the as-of
    date. In a real city this would be a reading of one resident's data: there, ask with `ennakko features explain`,
    which keeps in the audit log that somebody was asked about, and for what purpose.
    """)
    return


@app.cell
def _(city):
    as_of_date = date(2026, 2, 2)
    absence = FeatureSpec(name="absence", codes=["school.absence.*"], windows=[90], measures=["count"])
    _pupils = CohortSpec(age=[13, 18], as_of={"first": as_of_date, "last": as_of_date, "every_days": 1})
    pupils = build_cohort(city, _pupils)
    # Who objected is in no matrix, so every matrix asks. A home keeps its own register; this one is empty.
    _register = ObjectionRegister(create_engine("sqlite://"), b"only for a city nobody lives in")
    matrix = build_matrix(city, [absence], pupils, objections=_register, need_id="meet_the_city")
    return as_of_date, matrix


@app.cell
def _(as_of_date, city, events, matrix):
    _first = as_of_date - timedelta(days=90)
    absences = events.filter(pl.col("code").str.starts_with("school.absence.")).with_columns(
        verdict=pl.when(pl.col("happened") >= as_of_date)
        .then(pl.lit("no: not before the as-of date"))
        .when(pl.col("happened") < _first)
        .then(pl.lit("no: before the window"))
        .when(pl.col("known") >= as_of_date)
        .then(pl.lit("no: not known before the as-of date"))
        .otherwise(pl.lit("yes"))
    )
    _place_of = pl.DataFrame({"person_id": city.events.person_ids}).with_row_index("person")
    by_hand = (
        matrix.keys.with_row_index("row")
        .join(_place_of, on="person_id", how="left", maintain_order="left")
        .join(
            absences.group_by("person").agg(
                counted=(pl.col("verdict") == "yes").sum(),
                too_late=(pl.col("verdict") == "no: not known before the as-of date").sum(),
            ),
            on="person",
            how="left",
            maintain_order="left",
        )
        .fill_null(0)
        .select("row", "person", "counted", "too_late")
    )
    return absences, by_hand


@app.cell
def _(absences, as_of_date, by_hand, matrix):
    # Somebody of whom a few absences count and some do not; which person it is, nobody needs to know.
    _someone = by_hand.filter(pl.col("counted").is_between(3, 9)).sort("too_late", descending=True).row(0, named=True)
    cell = matrix.X[_someone["row"], 0]
    _near = pl.col("happened").is_between(as_of_date - timedelta(days=110), as_of_date + timedelta(days=14))
    _story = absences.filter((pl.col("person") == _someone["person"]) & _near).sort("happened")
    counted_by_hand = _someone["counted"]
    mo.vstack(
        [
            shown(
                _story.select("happened", "known", what="name", hours="value", counts="verdict"),
                f"One person's absences around {as_of_date}",
            ),
            mo.md(f"The cell holds **{cell:.0f}**, and by hand {counted_by_hand} rows say yes."),
        ]
    )
    return cell, counted_by_hand


@app.cell(hide_code=True)
def _(as_of_date, by_hand):
    hindsight_share = (by_hand["too_late"] > 0).mean()
    mo.md(f"""
    ## What hindsight would do

    With what is known *today*, **{hindsight_share:.0%}** of the {by_hand.height:,} pupils would have a larger count as
    of {as_of_date} than anybody could have seen on that day. A model taught by such counts is taught by the future: it
    looks better in every test than it will ever be in use. `ennakko features leakcheck` rewrites the future of a whole
    need and checks that no byte of its matrix changes; `ennakko features explain` takes a cell apart as above.

    ## What to take along

    - Choose **windows** no longer than the register is old, and with a thought for July.
    - Give a label the **reporting delay** its codes need: see the table of the latest codes.
    - Ask of each need **whom it cannot see**, and offer those people a way that needs no register.
    - Then write the need down: `02_define_a_need.py`.
    """)
    return (hindsight_share,)


@app.cell
def test_every_cell_is_what_the_events_say(by_hand, cell, counted_by_hand, matrix):
    """The matrix agrees with counting by hand, for the person above and for every pupil."""
    assert cell == counted_by_hand
    assert matrix.X[:, 0].tolist() == by_hand["counted"].to_list()
    return


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


@app.function(hide_code=True)
def shown(frame, caption):
    """A table with plain headings, shares as percentages."""
    shares = [name for name, kind in frame.schema.items() if kind.is_float() and name != "hours"]
    written = [pl.col(name).map_elements("{:.0%}".format, return_dtype=pl.String).fill_null("–") for name in shares]
    plain = frame.with_columns(written).rename({name: name.replace("_", " ") for name in frame.columns})
    return mo.ui.table(
        plain,
        selection=None,
        pagination=False,
        show_column_summaries=False,
        show_data_types=False,
        show_download=False,
        label=caption,
    )


@app.function(hide_code=True)
def few(number):
    """A count of persons, unless it is so small that somebody could be known by it."""
    return "fewer than 5" if 0 < number < 5 else f"{number:,}"


if __name__ == "__main__":
    app.run()
