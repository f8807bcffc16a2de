"""The auditor's report: one HTML file, rendered from a verdict and its cells alone.

The group tables are computed again from the cells with the verdict's own cuts, thresholds, seed and replicates, so a
report can show nothing that the signed files do not hold, and the same files give the same bytes.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ethics.cells import cells_as_bytes
from ethics.digests import sha256
from ethics.fairness import Cuts, FairnessTable, Thresholds, tabulate
from ethics.refusals import BadInput, Fault, NotTrusted
from ethics.report_page import Page
from ethics.verdict import Verdict

if TYPE_CHECKING:
    import polars as pl

HERE = Path(__file__).resolve().parent
SHAPE = {
    "PASS": "✔",
    "PASS_ATTESTED": "✔",
    "INCONCLUSIVE": "▲",
    "BLOCK": "■",
    "ERROR": "✖",
    "pass": "✔",
    "warn": "!",
    "inconclusive": "▲",
    "needs_attestation": "▲",
    "not_testable": "△",
    "block": "■",
    "error": "✖",
}
TONE = {
    **dict.fromkeys(("PASS", "PASS_ATTESTED", "pass"), "good"),
    **dict.fromkeys(("INCONCLUSIVE", "inconclusive", "needs_attestation", "not_testable"), "open"),
    **dict.fromkeys(("BLOCK", "ERROR", "block", "error"), "bad"),
    "warn": "warn",
}


class Language:
    """The texts of one language by dotted key; remembers which were used."""

    def __init__(self, language: str) -> None:
        self._texts = _messages(language)
        self.used: set[str] = set()

    def __call__(self, key: str, /, **names: object) -> str:
        """The text of a key, with its names filled in."""
        self.used.add(key)
        return self._texts[key].format(**names) if names else self._texts[key]

    def all(self, key: str) -> list[str]:
        """The texts of a list."""
        names = [name for name in self._texts if name.startswith(f"{key}.")]
        return [self(name) for name in names]


@cache
def _messages(language: str) -> dict[str, str]:
    path = HERE / "messages" / f"{language}.toml"
    if not path.exists():
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.toml")))
        raise BadInput(
            Fault("language", f"is {language!r}, and the report is not written in it", f"Give one of: {known}")
        )
    texts = dict(_flat(tomllib.loads(path.read_text("utf-8"))))
    for file in sorted((HERE / "messages" / "checks").glob("*.toml")):
        for key, text in _flat(tomllib.loads(file.read_text("utf-8"))):
            name, _, written_in = key.rpartition(".")
            if written_in == language:
                texts[f"checks.{file.stem}.{name}"] = text
    return texts


def _flat(table: Any, prefix: str = "") -> Iterable[tuple[str, str]]:
    items = enumerate(table) if isinstance(table, list) else table.items()
    for name, value in items:
        key = f"{prefix}{name}"
        if isinstance(value, str):
            yield key, value
        else:
            yield from _flat(value, f"{key}.")


def render_report(verdict: Verdict, cells: pl.DataFrame | None, *, language: str = "en") -> str:
    """One HTML file for the auditor.

    Parameters
    ----------
    cells : polars.DataFrame or None
        The verdict's own cells; None when it was judged without any group.

    Raises
    ------
    NotTrusted
        The cells are not those the verdict was judged on.
    """
    return render(verdict, cells, Language(language), language)


def render(verdict: Verdict, cells: pl.DataFrame | None, t: Language, language: str) -> str:
    """As :func:`render_report`, with texts that can tell which of them were used."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    table = _table_of(verdict, cells)
    context = Page(verdict, table, t).context()
    return environment.get_template("report.html.jinja").render(
        context, t=t, language=language, shape=SHAPE, tone=TONE, contents=_contents(context, t)
    )


def _table_of(verdict: Verdict, cells: pl.DataFrame | None) -> FairnessTable | None:
    """The fairness table again, from cells that must be the verdict's."""
    judged = verdict.subject.get("cells")
    found = None if cells is None else sha256(cells_as_bytes(cells))
    if judged != found:
        wrong = f"are {str(found)[:12]}, but {str(judged)[:12]} were judged"
        raise NotTrusted(Fault("cells", wrong, "Give the file of cells that was written with the verdict"))
    if cells is None:
        return None
    scope, limits = verdict.scope, verdict.scope["thresholds"]
    return tabulate(
        cells,
        Cuts(int(scope["measured_k"]), int(scope["measured_k_audit"])),
        seed=int(verdict.subject["seed"]),
        replicates=int(verdict.subject["replicates"]),
        thresholds=Thresholds(
            recall=float(limits["min_recall_ratio"]),
            oe=float(limits["max_oe_ratio"]),
            need=float(limits["max_need_ratio"]),
            alarm=float(limits["alarm_probability"]),
            min_expected=int(limits["min_expected_positives"]),
        ),
        design_effect=float(verdict.subject["design_effect"]),
        fixed=bool(scope["selection_given"]),
    )


def _contents(context: Mapping[str, Any], t: Language) -> list[tuple[str, str]]:
    before = [("todo", "todo"), ("purpose", "purpose"), ("checks", "checks_table"), ("quality", "quality")]
    return [
        *((id, t(f"{key}.heading")) for id, key in [*before, ("fairness", "fairness")]),
        *((section["id"], section["heading"]) for section in context["small_tables"]),
        *((id, t(f"{id}.heading")) for id in ("method", "contest")),
    ]
