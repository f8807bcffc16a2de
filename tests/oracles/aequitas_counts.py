"""What Aequitas says about a table of scores: run by its own environment, which cannot be ours (it needs pandas < 3).

Reads CSV from standard input (``score`` 0/1, ``label_value`` 0/1, attributes), writes one JSON list of groups.
"""

import json
import sys

WANTED = ["tpr", "for", "fpr", "fnr", "precision", "pprev", "group_size", "group_label_pos", "pp", "tp"]


def main() -> None:
    """Count once."""
    import pandas as pd
    from aequitas.group import Group

    frame = pd.read_csv(sys.stdin, dtype={"score": int, "label_value": int})
    attributes = [name for name in frame.columns if name not in ("score", "label_value")]
    counts, _ = Group().get_crosstabs(frame, attr_cols=attributes)
    json.dump(counts[["attribute_name", "attribute_value", *WANTED]].to_dict("records"), sys.stdout)


if __name__ == "__main__":
    main()
