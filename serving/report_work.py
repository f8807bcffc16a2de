"""The story of a report: every file that is written from a verdict, in one place."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ethics.refusals import BadInput, Fault, NotTrusted
from ethics.score_case import judges_scores_alone
from ethics.whole_file import write_whole
from serving.approval import bytes_of, read_verdict
from serving.home import CELLS, REPORT, Home

REGISTER = "register"
"""The folder of register entry and drafts."""

if TYPE_CHECKING:
    import polars as pl

    from ethics.report_page import Signature
    from ethics.verdict import Verdict


def write_everything(
    verdict: Verdict,
    cells: pl.DataFrame | None,
    folder: Path,
    languages: Sequence[str] | None = None,
    signed_by: Sequence[Signature] = (),
) -> list[Path]:
    """Write all that is made from a verdict alone: pages with their JSON and CSV twins, public summaries, register.

    The register entry and the drafts of the impact assessments go into the folder's ``register/``. A verdict on scores
    alone has none, and no public summary: no list is made by it, so residents have nothing to be told of.

    Whatever else is made from a verdict alone is added here, so that ``judge`` and ``report`` write the same.

    Parameters
    ----------
    languages : sequence of str, optional
        Pages in these languages as ``report.<language>.html``; all of them without it.
    signed_by : sequence of Signature
        Who has signed the verdict so far (:func:`signatures_of`).

    Returns
    -------
    list of Path
        The files, pages first; the same verdict and cells give the same bytes.
    """
    from ethics.public_summary import render_public_summaries
    from ethics.register_page import write_register_files
    from ethics.report import render_all
    from ethics.report_text import LANGUAGES

    wanted = {f"{page}.{language}.html" for page in ("report", "public") for language in languages or LANGUAGES}
    made = render_all(verdict, cells, signed_by)
    if not judges_scores_alone({"scope": verdict.scope}):
        made |= render_public_summaries(verdict, cells)
    kept = {name: text for name, text in made.items() if name in wanted or not name.endswith(".html")}
    for name, text in kept.items():
        write_whole(folder / name, text.encode())
    files = [folder / name for name in kept]
    return (
        files if verdict.record.get("register") is None else [*files, *write_register_files(verdict, folder / REGISTER)]
    )


def signatures_of(home: Home, envelope: bytes, where: str) -> list[Signature]:
    """Who has signed a verdict's envelope, by keys that are trusted now, in the order of signing."""
    from ethics.report_page import Signature
    from ethics.signing import check_signatures, open_envelope

    signed_by, _ = check_signatures(open_envelope(envelope, where), home.key_ring.trust(), datetime.now(UTC), where)
    return [Signature(signed.key.role, signed.key.name) for signed in signed_by]


def write_beside_verdict(
    verdict: Verdict,
    cells: pl.DataFrame | None,
    folder: Path,
    language: str,
    signed_by: Sequence[Signature] = (),
) -> None:
    """What ``judge`` leaves beside a verdict: a page, ``report.html``, its JSON and CSV twins, the public summaries."""
    from ethics.public_summary import render_public_summaries
    from ethics.report import render_all

    for name, text in render_public_summaries(verdict, cells).items():
        write_whole(folder / name, text.encode())
    for name, text in render_all(verdict, cells, signed_by).items():
        if name == f"report.{language}.html":
            write_whole(folder / REPORT, text.encode())
        elif not name.endswith(".html"):
            write_whole(folder / name, text.encode())


def renew_page(home: Home, verdict: Verdict, verdict_path: Path) -> None:
    """Write what ``judge`` left beside a verdict once more, with the signatures that it has now; nothing if it is gone.

    A file of cells that is not the verdict's leaves the page as it is: whoever verifies the verdict refuses it.
    """
    from ethics.cells import cells_from_bytes
    from ethics.digests import sha256

    page, held = verdict_path.with_name(REPORT), verdict_path.with_name(CELLS)
    judged, cells = verdict.subject.get("cells"), None
    if not page.exists() or (judged is not None and not held.exists()):
        return
    if judged is not None:
        content = bytes_of(held)
        if sha256(content) != judged:
            return
        cells = cells_from_bytes(content)
    found = re.search(r'<html lang="(\w+)"', page.read_text("utf-8")[:500])
    by = signatures_of(home, bytes_of(verdict_path), str(verdict_path))
    write_beside_verdict(verdict, cells, verdict_path.parent, found[1] if found else "en", by)


def report_verdict(
    home: Callable[[], Home], verdict_path: Path, languages: Sequence[str] | None = None, out: Path | None = None
) -> dict[str, Any]:
    """Render every form of a verdict's report again, from verdict and cells.

    Parameters
    ----------
    home : callable
        Gives the home whose keys are trusted; not asked for a verdict on scores alone, which has neither.

    Raises
    ------
    NotTrusted
        The verdict is signed by nobody trusted, one on scores alone contradicts itself, or the cells beside it are not
        those it was judged on.
    BadInput
        ``out`` is no folder.
    """
    from ethics.cells import cells_from_bytes
    from ethics.digests import sha256

    verdict, signed_by = _verdict_to_tell(home, verdict_path)
    folder = out or verdict_path.parent
    if folder.exists() and not folder.is_dir():
        raise BadInput(Fault(str(folder), "is not a folder", "Give the path of a folder"))
    judged, cells = verdict.subject.get("cells"), None
    if judged is not None:
        content = bytes_of(verdict_path.with_name(CELLS))
        if sha256(content) != judged:
            wrong = f"have SHA-256 {sha256(content)[:12]}…, the verdict names {str(judged)[:12]}…"
            raise NotTrusted(Fault("cells", wrong, "Take the file of cells that was judged"))
        cells = cells_from_bytes(content)
    folder.mkdir(parents=True, exist_ok=True)
    files = write_everything(verdict, cells, folder, languages, signed_by)
    return {
        "verdict_id": verdict.verdict_id,
        "files": [str(path) for path in files],
        "report_path": str(files[0]),
        "unanswered": _unanswered(verdict),
    }


def _verdict_to_tell(home: Callable[[], Home], path: Path) -> tuple[Verdict, Sequence[Signature]]:
    """A verdict and who has signed it: nobody, where it is about scores alone."""
    from ethics.score_verdict import holds_unsigned_scores, read_unsigned_scores

    if path.is_file() and holds_unsigned_scores(written := bytes_of(path)):
        return read_unsigned_scores(written, str(path)), ()
    verdict = read_verdict(home(), path, datetime.now(UTC))
    return verdict, signatures_of(home(), bytes_of(path), str(path))


def _unanswered(verdict: Verdict) -> list[dict[str, str]]:
    """The questions of the drafts that only people can answer, and nobody has; none where there are no drafts."""
    from ethics.impact_drafts import unanswered

    if verdict.record.get("register") is None:
        return []
    found: dict[str, dict[str, str]] = {}
    for document in ("fria", "dpia"):
        for missing in unanswered(verdict, document, "en"):
            found.setdefault(missing.key, {"document": document, **missing._asdict()})
    return list(found.values())
