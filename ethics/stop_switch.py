"""The stop switch: one file that, while it exists, lets no verdict through and so no score be made."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

from ethics.refusal_ids import STOPPED
from ethics.refusals import Fault, NotTrusted, Refusal
from ethics.whole_file import write_whole


class StopSwitch:
    """A person's way to stop everything at once, and the proof that it was tried.

    Examples
    --------
    >>> import tempfile
    >>> switch = StopSwitch(tempfile.mkdtemp())
    >>> switch.set("two wrong lists last week")
    >>> switch.is_set(), switch.reason()
    (True, 'two wrong lists last week')
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._switch = self.folder / "STOP"
        self._switch_path = str(self._switch)  # asked about before every answer
        self._tested = self.folder / "stop_tested.json"

    def set(self, reason: str) -> None:
        """Stop: from now on no verdict verifies. Whatever cannot be written of the reason becomes "?"."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self._switch, reason.encode("utf-8", "replace"))

    def clear(self) -> None:
        """Let verdicts verify again."""
        self._switch.unlink(missing_ok=True)

    def is_set(self) -> bool:
        """Whether the switch is set; where that cannot be seen, it is."""
        try:
            os.lstat(self._switch_path)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return True

    def reason(self) -> str:
        """Why it was set; empty when that cannot be read."""
        try:
            return self._switch.read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            return ""

    def fault(self) -> Fault:
        """What a refusal says while the switch is set."""
        wrong = f"is set ({self.reason() or 'no reason readable'})"
        return Fault("stop switch", wrong, "Whoever set it must clear it", STOPPED)

    def guard(self) -> None:
        """Refuse while the switch is set; every path to a score passes here."""
        if self.is_set():
            raise NotTrusted(self.fault())

    def test(self, now: datetime) -> None:
        """Set the real switch, see that the guard refuses, restore what was, and record the moment.

        Raises
        ------
        Refusal
            The switch was set and the guard let through: nothing may run until that is mended.
        """
        was_set = self.is_set()
        if not was_set:
            self.set("test of the stop switch")
        try:
            self.guard()
        except NotTrusted:
            works = True
        else:
            works = False
        if not was_set:
            self.clear()
        if not works or (not was_set and self.is_set()):
            raise Refusal(Fault("stop switch", "does not stop, or does not clear", "Mend the folder before any score"))
        write_whole(self._tested, json.dumps({"tested_at": now.astimezone(UTC).isoformat()}).encode("ascii"))

    def tested_at(self) -> datetime | None:
        """When the switch was last proved to stop; None if never, or if that cannot be read."""
        try:
            return datetime.fromisoformat(json.loads(self._tested.read_bytes())["tested_at"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
