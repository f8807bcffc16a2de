"""What plain MLflow calls to load a registered model: ``mlflow.pyfunc.load_model("models:/<need>@candidate")``.

Nothing is unpickled. MLflow reads ``MLmodel`` beside the artefact, imports this module from the checkout that is
installed, and hands over the folder; every digest in it is compared before anything is parsed. That a model loads says
nothing about whether it may be used: only an approved one ranks anybody, and MLflow knows no verdict.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ethics.refusals import BadInput, Fault
from models.training import NeedModel, load_model

if TYPE_CHECKING:
    import pandas as pd

    from models.rule import RuleModel


@dataclass(frozen=True)
class TabularModel:
    """A model or a rule with the interface MLflow expects: frames in, one figure per row out."""

    model: NeedModel | RuleModel

    def predict(self, frame: pd.DataFrame) -> pd.Series:
        """A probability per row; for a rule a rank score, which compares the rows of this call only.

        Parameters
        ----------
        frame : pandas.DataFrame (n, …)
            With the columns of the need, in any order; further columns are not read. Missing values are NaN.

        Returns
        -------
        pandas.Series of float64 (n,)
            ``probability``, in [0, 1], or ``rank_score``, higher first; on the frame's own index.

        Raises
        ------
        BadInput
            Columns are missing.
        """
        import pandas as pd

        columns = list(self.model.columns)
        missing = [name for name in columns if name not in frame.columns]
        if missing:
            wrong = f"lacks {len(missing)} of {len(columns)} columns: {', '.join(missing[:5])}"
            raise BadInput(Fault("frame", wrong, f"Build it from {self.model.need.id}.toml, e.g. Matrix.to_pandas()"))
        X = frame[columns].to_numpy(dtype=np.float32)
        if isinstance(self.model, NeedModel):
            return pd.Series(self.model.predict(X), index=frame.index, name="probability")
        return pd.Series(self.model.raw(X), index=frame.index, name="rank_score")


def _load_pyfunc(folder: str) -> TabularModel:
    """The name that MLflow calls. Raises NotTrusted if a file is missing or was altered."""
    return TabularModel(load_model(Path(folder)))
