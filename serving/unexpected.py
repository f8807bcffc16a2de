"""What is said of an error that nobody meant to raise: the system's about a file, or one of ours."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ethics.refusals import Fault

ROOT = Path(__file__).resolve().parent.parent
OWN = ("ethics", "features", "models", "scoring", "serving")


def file_fault(error: OSError) -> Fault:
    """What the system said about a file: which, and why. Its text may come from elsewhere, so only these two."""
    from ethics.refusals import Fault

    _show_traceback(error)
    path = error.filename2 or error.filename
    wrong = f"cannot be read or written: {error.strerror or type(error).__name__}"
    return Fault("a file" if path is None else str(path), wrong, "Give another path, or make this one usable")


def own_fault(error: Exception) -> Fault:
    """A fault of ours by kind and place; never its message, which may hold what a register says of a person."""
    from ethics.refusals import Fault

    _show_traceback(error)
    place = "an unknown place"
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename)
        if path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in OWN:
            place = f"{path.relative_to(ROOT).as_posix()}:{frame.lineno}"
    mend = "Tell the maintainers this line; ENNAKKO_DEBUG=1 shows the traceback, which may name persons"
    return Fault("ennakko", f"our fault: {type(error).__name__} at {place}", mend)


def _show_traceback(error: BaseException) -> None:
    from serving.settings import shows_tracebacks

    if shows_tracebacks():
        traceback.print_exception(error)
