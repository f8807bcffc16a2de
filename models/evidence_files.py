"""What a trial showed, as files in the run's folder: written whole, read back only as it was written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from ethics.digests import sha256
from ethics.refusals import BadInput, Fault, NotTrusted

FACTS, ROWS, FEATURES = "evidence.json", "rows.parquet", "features.parquet"


@dataclass(frozen=True)
class GatheredEvidence:
    """What a trial showed: ``facts`` (JSON values), and the judged ``rows`` with their tie keys.

    ``features`` are the same rows' ``person_id``, ``as_of_date`` and columns (float32), in the matrix's order; None
    where they were not kept.
    """

    facts: dict[str, Any]
    rows: pl.DataFrame
    features: pl.DataFrame | None = None


def write_evidence(folder: Path, gathered: GatheredEvidence) -> str:
    """Write ``rows.parquet`` and ``features.parquet``, then ``evidence.json``, which names their digests.

    Returns
    -------
    str
        :func:`evidence_digest`, to be kept elsewhere, e.g. with the run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    facts = dict(gathered.facts)
    for name, frame in ((ROWS, gathered.rows), (FEATURES, gathered.features)):
        if frame is not None:
            path = folder / name
            unfinished = path.with_suffix(".unfinished")
            frame.write_parquet(unfinished)
            unfinished.replace(path)
            facts[f"{path.stem}_sha256"] = sha256(path.read_bytes())
    unfinished = folder / f"{FACTS}.unfinished"
    unfinished.write_text(json.dumps(facts, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False), "utf-8")
    unfinished.replace(folder / FACTS)
    return evidence_digest(folder)


def evidence_digest(folder: Path) -> str:
    """SHA-256 of ``evidence.json``, which names the digests of the tables, and so of all evidence in the folder."""
    return sha256((folder / FACTS).read_bytes())


def read_evidence(folder: Path, expected_digest: str | None = None) -> GatheredEvidence:
    """Read what :func:`write_evidence` wrote.

    Parameters
    ----------
    expected_digest : str, optional
        :func:`evidence_digest` as it was logged with the run.

    Raises
    ------
    BadInput
        There is no evidence in the folder.
    NotTrusted
        The rows were altered, or the facts are not those of the digest.
    """
    try:
        written = (folder / FACTS).read_bytes()
        facts = json.loads(written)
        contents = {name: (folder / name).read_bytes() for name in _tables_in(facts)}
    except (OSError, ValueError, AttributeError) as error:
        mend = "Give the run_id of a finished train"
        raise BadInput(Fault(str(folder), f"holds no evidence that can be read ({error})", mend)) from None
    if expected_digest is not None and sha256(written) != expected_digest:
        wrong = f"has SHA-256 {sha256(written)[:12]}…, and {expected_digest[:12]}… was logged: it was altered"
        raise NotTrusted(Fault(str(folder / FACTS), wrong, "Train again"))
    faults = []
    for name, content in contents.items():
        expected = facts.pop(f"{Path(name).stem}_sha256", "")
        if sha256(content) != expected:
            wrong = f"has SHA-256 {sha256(content)[:12]}…, and {expected[:12]}… was recorded: it was altered"
            faults.append(Fault(str(folder / name), wrong, "Train again"))
    if faults:
        raise NotTrusted(*faults)
    features = pl.read_parquet(contents[FEATURES]) if FEATURES in contents else None
    return GatheredEvidence(facts, pl.read_parquet(contents[ROWS]), features)


def _tables_in(facts: Mapping[str, Any]) -> list[str]:
    return [ROWS, FEATURES] if facts.get("features_sha256") else [ROWS]
