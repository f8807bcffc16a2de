"""Protected groups by pseudonym: joined to rows only inside :class:`GroupRegister`, and only numbers leave."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ethics.cells import INDICATOR, UNKNOWN
from ethics.digests import sha256
from ethics.fairness import Cuts, FairnessTable, measure
from ethics.refusals import BadInput, Fault, did_you_mean

if TYPE_CHECKING:
    import polars as pl

    from ethics.cells import Floats
    from ethics.policy import Policy

MAX_GROUPS = 200
HOUSEHOLD = "household"
MIN_SHARE_FOUND = 0.5
_ROW_COLUMNS = ("person_id", "rank_score", "tie_key", "probability", "label")


class GroupRegister:
    """The audit-only attributes of residents: opened by the gate alone, never by anything that makes features.

    A value that is missing (null, blank, or not a number), and a person who is not in the register, are the group
    "unknown", which is reported like any other, and alone shows nothing (:mod:`ethics.group_checks`).

    Parameters
    ----------
    frame : polars.DataFrame
        ``person_id`` and one column per attribute.
    where : str
        What refusals call it.
    digest : str, optional
        SHA-256 of the file it was read from; :meth:`open` gives it.

    Examples
    --------
    >>> import polars as pl
    >>> register = GroupRegister(pl.DataFrame({"person_id": ["1", "2"], "sex": ["f", None]}), "groups")
    >>> register.attributes
    ('sex',)
    """

    def __init__(self, frame: pl.DataFrame, where: str, digest: str | None = None) -> None:
        import polars as pl

        faults = []
        if "person_id" not in frame.columns:
            faults.append(Fault(where, "has no column person_id", "Add it, with the same ids as persons.parquet"))
        elif frame["person_id"].null_count() or frame["person_id"].is_duplicated().any():
            faults.append(
                Fault(f"{where}: person_id", "is missing or repeated in some rows", "Keep one row per person")
            )
        attributes = [name for name in frame.columns if name != "person_id"]
        frame = frame.with_columns(_known_values(name) for name in attributes)
        if not attributes:
            faults.append(Fault(where, "has no attribute, so fairness cannot be shown", "Add e.g. sex, language_group"))
        for name in attributes:
            n = frame[name].n_unique()
            if n > MAX_GROUPS:
                mend = f"Give it in at most {MAX_GROUPS} groups, e.g. age bands"
                faults.append(Fault(f"{where}: {name}", f"has {n} different values, too many to be groups", mend))
        if faults:
            raise BadInput(*faults)
        self._frame = frame.select(pl.all().cast(pl.String))
        self._where = where
        self.digest = digest
        self.attributes = tuple(attributes)

    def __repr__(self) -> str:
        return f"GroupRegister(attributes={self.attributes})"

    @classmethod
    def open(cls, path: Path | str) -> GroupRegister:
        """Open ``groups.parquet`` or ``groups.csv`` of a city folder."""
        import polars as pl

        path = Path(path)
        try:
            content = path.read_bytes()
            if path.suffix == ".csv":
                frame = pl.read_csv(BytesIO(content), infer_schema=False, null_values=[""])
            else:
                frame = pl.read_parquet(BytesIO(content))
        except (OSError, pl.exceptions.PolarsError) as error:
            wrong = f"cannot be read ({type(error).__name__})"
            raise BadInput(
                Fault(str(path), wrong, "Give a Parquet or CSV file with person_id and attributes")
            ) from None
        return cls(frame, str(path), sha256(content))

    def share_known(self, person_ids: Sequence[str]) -> float:
        """The share of some people who are in the register; 1 for nobody."""
        import polars as pl

        if not len(person_ids):
            return 1.0
        known = pl.Series("person_id", person_ids, dtype=pl.String).is_in(self._frame["person_id"].implode())
        return float(known.sum()) / len(person_ids)

    def sizes(self, person_ids: Sequence[str]) -> pl.DataFrame:
        """``attribute``, ``group``, ``n``: how many of some people each group has; see :meth:`sums`."""
        import polars as pl

        return self.sums(pl.DataFrame({"person_id": pl.Series(person_ids, dtype=pl.String)}), ())

    def sums(self, people: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
        """Sums over the people of each group: only these leave the register.

        Parameters
        ----------
        people : polars.DataFrame
            ``person_id`` once each, and numeric columns.
        columns : sequence of str
            Which of them to add up.

        Returns
        -------
        polars.DataFrame
            ``attribute``, ``group`` (people not in the register are "unknown"), ``n``, and a float64 sum per column;
            sorted by attribute (in the register's order) and group.
        """
        import polars as pl

        keyed = people.select(pl.col("person_id").cast(pl.String), *(pl.col(name).cast(pl.Float64) for name in columns))
        joined = keyed.join(self._frame, on="person_id", how="left", maintain_order="left")
        parts = [
            joined.group_by(pl.col(name).fill_null(UNKNOWN).alias("group"))
            .agg(pl.len().cast(pl.Int64).alias("n"), *(pl.col(column).sum() for column in columns))
            .sort("group")
            .select(pl.lit(name).alias("attribute"), "group", "n", *columns)
            for name in self.attributes
        ]
        return pl.concat(parts)

    def measure(
        self,
        rows: pl.DataFrame,
        cuts: Cuts,
        policy: Policy,
        *,
        seed: int,
        design_effect: float = 1.0,
        tabulated: Callable[..., FairnessTable] | None = None,
    ) -> FairnessTable:
        """Measure how the ranking in ``rows`` treats each group.

        Parameters
        ----------
        rows : polars.DataFrame
            One row per person: ``person_id``, ``rank_score`` (higher first), ``tie_key``, ``probability`` (null for a
            rule), ``label`` (1, 0, or null where not known), ``indicator:<name>`` bool …, known of everybody, and,
            where it is known who lives with whom, ``household`` (null: alone), from which the design effect is
            measured.
        design_effect : float
            At least this.
        tabulated : callable, optional
            As :func:`ethics.fairness.measure` takes it.

        Raises
        ------
        BadInput
            Columns missing, a person twice, a probability or an indicator for some rows only, or fewer than half of
            the persons in the register: what would be measured are then strangers.
        """
        import polars as pl

        self._refuse(rows)
        joined = self._joined(rows)
        has_probability = rows["probability"].null_count() == 0
        return measure(
            label=rows["label"].cast(pl.Float64).fill_null(float("nan")).to_numpy(),
            groups={name: joined[name] for name in self.attributes},
            score=rows["rank_score"].to_numpy(),
            probability=rows["probability"].to_numpy() if has_probability else None,
            indicators={
                name.removeprefix(INDICATOR): rows[name].to_numpy()
                for name in rows.columns
                if name.startswith(INDICATOR)
            },
            cuts=cuts,
            tie_key=rows["tie_key"],
            seed=seed,
            replicates=policy.replicates,
            thresholds=policy.fairness,
            design_effect=design_effect,
            households=rows[HOUSEHOLD] if HOUSEHOLD in rows.columns else None,
            tabulated=tabulated,
        )

    def only(self, attribute: str) -> GroupRegister:
        """The register with one attribute alone.

        Raises
        ------
        BadInput
            It does not have the attribute.
        """
        if attribute not in self.attributes:
            wrong = f"'{attribute}' is not an attribute of {self._where}"
            raise BadInput(Fault("attribute", wrong, did_you_mean(attribute, self.attributes)))
        return GroupRegister(self._frame.select("person_id", attribute), self._where, self.digest)

    def balancing_weights(self, rows: pl.DataFrame, attribute: str) -> Floats:
        """Weights under which need is the same in every group (:func:`ethics.balancing.balancing_weights`).

        They tell the groups apart to whoever holds them, so they serve for learning and are not kept.

        Parameters
        ----------
        rows : polars.DataFrame
            ``person_id`` and ``label`` (1, 0, or null where not known); a person may come on several days.
        attribute : str

        Returns
        -------
        float64 (n,)
            1 on average over the rows whose label is known.
        """
        import polars as pl

        from ethics.balancing import balancing_weights

        members = self.only(attribute)._joined(rows)[attribute]
        return balancing_weights(rows["label"].cast(pl.Float64).fill_null(float("nan")).to_numpy(), members)

    def equal_recall_order(self, rows: pl.DataFrame, attribute: str) -> Floats:
        """A rank score by which every cut finds the same share of each group's expected need.

        Parameters
        ----------
        rows : polars.DataFrame
            As :meth:`measure` takes them, with probabilities; no label is looked at.
        attribute : str

        Returns
        -------
        float64 (n,)
            :func:`ethics.balancing.equal_recall_order`.

        Raises
        ------
        BadInput
            There are no probabilities.
        """
        from ethics.balancing import equal_recall_order

        self._refuse(rows)
        if rows["probability"].null_count():
            mend = "A group's own cut shares out expected need: give calibrated probabilities"
            raise BadInput(Fault("rows: probability", "is null", mend))
        members = self.only(attribute)._joined(rows)[attribute]
        return equal_recall_order(rows["rank_score"].to_numpy(), rows["probability"].to_numpy(), members)

    def _refuse(self, rows: pl.DataFrame) -> None:
        import polars as pl

        faults = [
            Fault("rows", f"have no column {name}", f"Give {', '.join(_ROW_COLUMNS)}")
            for name in _ROW_COLUMNS
            if name not in rows.columns
        ]
        if not faults and rows["person_id"].is_duplicated().any():
            faults.append(Fault("rows", "hold a person twice", "Give one row per person, the latest"))
        if not faults and 0 < rows["probability"].null_count() < rows.height:
            faults.append(Fault("rows: probability", "is null in some rows only", "Give it for every row, or for none"))
        faults += [
            Fault(f"rows: {name}", "is null in some rows", "Give it for every row: not known is not no need")
            for name in rows.columns
            if name.startswith(INDICATOR) and rows[name].null_count()
        ]
        if not faults and rows.height:
            found = rows["person_id"].cast(pl.String).is_in(self._frame["person_id"].implode()).mean()
            if float(str(found)) < MIN_SHARE_FOUND:
                wrong = f"holds {float(str(found)):.0%} of the {rows.height} people judged"
                mend = f"Give the groups of the same city, of at least {MIN_SHARE_FOUND:.0%} of the people judged"
                faults.append(Fault(self._where, wrong, mend))
        if faults:
            raise BadInput(*faults)

    def _joined(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The attributes of each row's person, null where the register does not have them."""
        import polars as pl

        keys = rows.select(pl.col("person_id").cast(pl.String))
        return keys.join(self._frame, on="person_id", how="left", maintain_order="left")

    def examine(
        self,
        rows: pl.DataFrame,
        features: pl.DataFrame | None,
        cuts: Cuts,
        policy: Policy,
        *,
        seed: int,
        kind: str = "need",
        gain: Mapping[str, float] | None = None,
        feature_of: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """What tells the groups though nobody put them in, and what the label makes of them.

        Parameters
        ----------
        rows : polars.DataFrame
            As :meth:`measure` takes them, with ``by:<indicator>``, ``label_from_contact`` and ``label_value`` where
            there are such (:mod:`ethics.label_audit`), and ``weight`` where rows stand for others too.
        features : polars.DataFrame or None
            ``person_id``, then ``as_of_date`` and the columns of the same rows, in the same order. None: not kept, and
            what needs them is None.
        kind : "need", "use" or "spending"
            What the label stands for.
        gain : mapping, optional
            Column → its share of the gain of the model's trees, 0 to 1; None where there are no trees.
        feature_of : mapping, optional
            Column → feature; a column that is not there is a feature of its own.

        Returns
        -------
        dict
            Fields of :class:`ethics.Evidence`: ``group_proxies``, ``column_proxies`` (None without trees),
            ``missingness``, ``observability``, ``label_choice``. Groups of fewer than 100 people are pooled, and where
            that is still fewer, they are only named.

        Raises
        ------
        BadInput
            ``features`` are of other rows, or :meth:`measure` would refuse the rows.
        """
        from ethics.group_audit import examined

        self._refuse(rows)
        return examined(
            rows,
            self._joined(rows),
            features,
            cuts=cuts,
            policy=policy,
            seed=seed,
            kind=kind,
            gain=gain,
            feature_of=feature_of or {},
        )


def _known_values(attribute: str) -> pl.Expr:
    """An attribute as text without blanks around it; null where nothing, or what is not a number, stands for it."""
    import polars as pl

    text = pl.col(attribute).cast(pl.String).str.strip_chars()
    return pl.when(~text.str.to_lowercase().is_in(["", "nan"])).then(text)
