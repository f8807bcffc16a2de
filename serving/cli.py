"""The command ``ennakko``: reads words, calls a story, says what came of it.

Only the standard library is imported before a command is known, so ``ennakko --help`` answers at once.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from serving.building_options import add_looking, add_models
from serving.gate_options import add_gate
from serving.unexpected import file_fault, own_fault
from serving.using_options import add_use

if TYPE_CHECKING:
    from ethics.refusals import Fault


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are refusals like any other, also as JSON."""

    def error(self, message: str) -> NoReturn:
        from ethics.refusals import BadInput, Fault

        raise BadInput(Fault(self.prog, message, f"See {self.prog} --help"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is the contract's (0, 1, 2, 10, 20, 30)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in words
    from ethics.refusals import Refusal

    try:
        with _stopped_in_order():
            code = _run(words)
            sys.stdout.flush()
        return code
    except Refusal as refusal:
        _say_no(refusal.faults, as_json)
        return refusal.exit_code
    except KeyboardInterrupt:
        print("Stopped; nothing half-written was kept.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _write_nowhere()
        return 1
    except OSError as error:
        _say_no([file_fault(error)], as_json)
        return 2
    except Exception as error:
        _say_no([own_fault(error)], as_json)
        return 1


def _run(words: Sequence[str]) -> int:
    parser = _parser()
    if words[:1] == ["keys"] and (len(words) == 1 or (words[1].startswith("-") and words[1] not in ("-h", "--help"))):
        words = ["keys", "list", *words[1:]]
    options = parser.parse_args(words)
    if not hasattr(options, "run"):
        parser.parse_args([*words, "--help"])
    from serving import commands

    return commands.run(options)


@contextmanager
def _stopped_in_order() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does; a service sets a handler of its own."""

    def interrupt(_number: int, _frame: object) -> NoReturn:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _write_nowhere() -> None:
    """Nobody reads any more: what is still to be written at the end goes nowhere, and raises nothing again."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _say_no(faults: Sequence[Fault], as_json: bool) -> None:
    """Say what was refused, and never a personal identity code that somebody typed."""
    from serving.progress import masked

    faults = [fault._replace(**{part: masked(str(text)) for part, text in fault._asdict().items()}) for fault in faults]
    if as_json:
        print(json.dumps({"errors": [fault.facts() for fault in faults]}, ensure_ascii=False))
    for fault in faults:
        print(fault, file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="ennakko",
        description="Estimates who needs which service, refuses to do so unfairly, and hands short, explained lists "
        "to people who then decide.",
        epilog="Start with: ennakko demo",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    add_looking(commands)
    add_models(commands)
    add_gate(commands)
    add_use(commands)
    return parser
