"""What a trial showed, as files in the run's folder: written whole, read back only as it was written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl

from ethics.digests import sha256
from ethics.refusals import BadInput, Fault, NotTrusted
from ethics.whole_file import write_whole

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


@dataclass(frozen=True)
class Redaction:
    """Evidence without some persons, before it is written.

    Attributes
    ----------
    folder : Path
    n : int
        Rows of the judged that go.
    before, after : str
        :func:`evidence_digest` as it was and will be.
    tables : mapping of str to bytes
        Only those that change.
    facts : bytes
        The new ``evidence.json``.
    is_trusted : bool
        Whether the tables were as they were written, or as an interrupted redaction left them.
    """

    folder: Path
    n: int
    before: str
    after: str
    tables: Mapping[str, bytes]
    facts: bytes
    is_trusted: bool

    @property
    def digests(self) -> list[str]:
        """SHA-256 of each table as it will be; keep them before writing, to finish after a kill."""
        return [sha256(content) for content in self.tables.values()]

    def write(self) -> None:
        """Replace the tables, then the facts that name their digests. Their dates stay: retention counts by them."""
        for name, content in (*self.tables.items(), (FACTS, self.facts)):
            path = self.folder / name
            dates = path.stat()
            write_whole(path, content)
            os.utime(path, ns=(dates.st_atime_ns, dates.st_mtime_ns))


def redacted_evidence(
    folder: Path, gone: Callable[[Sequence[str]], Sequence[bool]], accepted: Collection[str] = ()
) -> Redaction | None:
    """A run's evidence without some persons; None where it holds none of them.

    Parameters
    ----------
    gone : callable
        Person ids → whether each is to go.
    accepted : collection of str
        Digests of tables that an interrupted redaction may have left.

    Raises
    ------
    OSError, ValueError
        The evidence cannot be read.
    """
    written = (folder / FACTS).read_bytes()
    facts = json.loads(written)
    tables, n, is_trusted, is_left_over = {}, 0, True, False
    for name in _tables_in(facts):
        content, key = (folder / name).read_bytes(), f"{Path(name).stem}_sha256"
        found = sha256(content)
        is_left_over |= found != facts.get(key) and found in accepted
        is_trusted &= found == facts.get(key) or found in accepted
        frame = pl.read_parquet(content)
        ids = frame["person_id"].unique().to_list()
        leaving = [one for one, goes in zip(ids, gone(ids), strict=True) if goes]
        if leaving:
            kept = frame.filter(~pl.col("person_id").is_in(leaving))
            n = max(n, frame.height - kept.height)
            buffer = BytesIO()
            kept.write_parquet(buffer)
            tables[name] = buffer.getvalue()
            found = sha256(tables[name])
        facts[key] = found
    if not tables and not (is_left_over and is_trusted):
        return None
    new = json.dumps(facts, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False).encode("utf-8")
    return Redaction(folder, n, sha256(written), sha256(new), tables, new, is_trusted)


def _tables_in(facts: Mapping[str, Any]) -> list[str]:
    return [ROWS, FEATURES] if facts.get("features_sha256") else [ROWS]
