"""``python -m serving`` is the command ``ennakko``: an unpacked Bento has the packages, but no installed command."""

import sys

from serving.cli import main

if __name__ == "__main__":
    sys.exit(main())
