"""A command of ``ennakko`` in a process of its own that kills itself at a given moment of its work.

A moment is a file opened, renamed or removed, a statement before and after it ran, or a commit, counted from when the
first need begins to be scored. Moment 0 never comes: the run ends, and says on standard error how many there were.

    python tests/killed_run.py MOMENT week --city … --home … --json
"""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILES = ("open", "os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.listdir")


def main():
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    from serving import cli, list_work, weekly

    moment, words = int(sys.argv[1]), sys.argv[2:]
    count = {"armed": False, "seen": 0}

    def step(*_):
        if count["armed"]:
            count["seen"] += 1
            if count["seen"] == moment:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(lambda name, args: step() if name in FILES else None)
    for name in ("before_cursor_execute", "after_cursor_execute", "commit"):
        event.listen(Engine, name, step)
    scored_by = list_work.scored_by

    def watched(*asked, **more):
        count["armed"] = True
        return scored_by(*asked, **more)

    list_work.scored_by = weekly.scored_by = watched
    code = cli.main(words)
    count["armed"] = False
    print(count["seen"], file=sys.stderr)
    return code


def run_killed(moment, words):
    """Run a command that dies at a moment: the finished process."""
    path = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, str(Path(__file__).resolve()), str(moment), *map(str, words)]
    return subprocess.run(command, cwd=ROOT, env=path, capture_output=True, text=True)


def moments_of(done, n, seed):
    """So many moments, drawn evenly from the parts of a run that ended by itself."""
    total, draw = int(done.stderr.split()[-1]), random.Random(seed)
    return [draw.randint(1 + part * total // n, (part + 1) * total // n) for part in range(n)]


if __name__ == "__main__":
    sys.exit(main())
