"""Whether the files written from a verdict are still the bytes that verdict and cells give: pages, twins, register."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ethics import refusal_ids as ids
from ethics.digests import code_digest
from ethics.refusals import Fault, Refusal
from ethics.score_case import judges_scores_alone
from ethics.verdict import Verdict

if TYPE_CHECKING:
    from ethics.report_page import Signature

REGISTER = "register/"
PAGE = "report.html"
"""What ``judge`` leaves beside a verdict: the report in the language that was asked for."""


class Compared(NamedTuple):
    """What was looked at and is as it was written, what is not, and what could not be looked at."""

    checked: list[str]
    touched: list[Fault]
    unchecked: list[str]


def compare_written(
    verdict: Verdict, cells: Any, files: Mapping[str, bytes], signed_by: Sequence[Signature]
) -> Compared:
    """Compare files by name with what the verdict and its cells give.

    Reports may have been written before the last of the signatures, or all of them, were there.

    Parameters
    ----------
    cells : polars.DataFrame, None or False
        The verdict's own; None when it was judged without any group, False when its cells are not here.
    files : mapping
        Contents by name; those of the register as ``register/<name>``.

    Returns
    -------
    Compared
        Every file is in one of its lists.
    """
    found, left = Compared([], [], []), dict(files)
    failed: dict[str, str] = {}
    for kind, given in _kinds(verdict, cells, signed_by).items():
        mine = {name for name in left if _kind_of(name) == kind}
        written: set[str] = set()
        try:
            while mine and (made := next(given, None)) is not None:
                written |= set(made)
                for name in sorted(mine):
                    if _is_one_of(name, left[name], made):
                        found.checked.append(f"{name}: the bytes that verdict and cells give")
                        mine.discard(name)
                        del left[name]
        except (Refusal, AttributeError, KeyError, TypeError, ValueError) as error:
            failed |= dict.fromkeys(mine, f"it cannot be rendered here: {type(error).__name__}")
            continue
        failed |= dict.fromkeys((name for name in mine if not _is_named(name, written)), _NO_SUCH)
    if cells is False:
        failed |= {name: _NO_CELLS for name in left if _kind_of(name) != REGISTER}
    same_code = verdict.subject.get("code") == code_digest()
    for name in left:
        why = failed.get(name) or ("" if same_code else "written by another version of the code than this one")
        if why:
            found.unchecked.append(f"{name} ({why})")
        else:
            mend = "Render it again: ennakko report"
            found.touched.append(Fault(name, "is not what verdict and cells give", mend, ids.REPORT))
    return found


_NO_SUCH = "not looked at: no file of that name is written from a verdict"
_NO_CELLS = "not looked at: it follows from the cells, which are not here"


def _kinds(verdict: Verdict, cells: Any, signed_by: Sequence[Signature]) -> dict[str, Iterator[dict[str, str]]]:
    """Kind of file → what may have been written, newest first; each is rendered only when it is asked for."""
    from ethics.public_summary import render_public_summaries
    from ethics.register_page import render_register_files
    from ethics.report import render_all_as_signed

    def once(render: Any, *given: Any) -> Iterator[dict[str, str]]:
        yield render(*given)

    kinds: dict[str, Iterator[dict[str, str]]] = {}
    if verdict.record.get("register") is not None:
        kinds[REGISTER] = once(render_register_files, verdict)
    if cells is not False:
        kinds["report"] = render_all_as_signed(verdict, cells, signed_by)
        if not judges_scores_alone({"scope": verdict.scope}):
            kinds["public"] = once(render_public_summaries, verdict, cells)
    return {kind: kinds.get(kind, iter(())) for kind in (REGISTER, "report", "public")}


def _kind_of(name: str) -> str:
    return REGISTER if name.startswith(REGISTER) else "public" if name.startswith("public") else "report"


def _is_named(name: str, written: set[str]) -> bool:
    return name == PAGE or name.removeprefix(REGISTER) in written


def _is_one_of(name: str, content: bytes, made: Mapping[str, str]) -> bool:
    """Whether a file is what was made under its name; the page beside a verdict may be in any language."""
    if name == PAGE:
        return any(text.encode() == content for other, text in made.items() if other.endswith(".html"))
    text = made.get(name.removeprefix(REGISTER))
    return text is not None and text.encode() == content
