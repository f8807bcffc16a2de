"""Needs, the models and rules that rank for them, and what is known about how well they do."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOME_OF = {
    "need": ("Need", "list_needs", "load_need", "parse_need"),
    "splits": ("Split", "split_periods"),
    "training": ("NeedModel", "load_model", "train"),
    "rule": ("RuleModel", "rule_order"),
    "baselines": ("run_baselines",),
    "metrics": ("Estimate", "evaluate", "precision_at_k", "recall_at_k"),
    "ties": ("tie_keys",),
    "benefit": ("benefit_grounds", "check_wording", "load_evidence_table"),
    "benefit_ranking": ("compare_with_risk", "expected_benefit", "rank_by_benefit"),
    "uplift_trial": ("randomised_trial",),
    "uplift_learning": ("uplift", "worth_of_uplift"),
    "evidence": ("gather_evidence", "load_evidence"),
    "registry": ("approve", "approved_model", "configure", "log_run"),
}
_MODULE_OF = {name: module for module, names in _HOME_OF.items() for name in names}
__all__ = sorted(_MODULE_OF)

if TYPE_CHECKING:
    from models.baselines import run_baselines as run_baselines
    from models.benefit import benefit_grounds as benefit_grounds
    from models.benefit import check_wording as check_wording
    from models.benefit import load_evidence_table as load_evidence_table
    from models.benefit_ranking import compare_with_risk as compare_with_risk
    from models.benefit_ranking import expected_benefit as expected_benefit
    from models.benefit_ranking import rank_by_benefit as rank_by_benefit
    from models.evidence import gather_evidence as gather_evidence
    from models.evidence import load_evidence as load_evidence
    from models.metrics import Estimate as Estimate
    from models.metrics import evaluate as evaluate
    from models.metrics import precision_at_k as precision_at_k
    from models.metrics import recall_at_k as recall_at_k
    from models.need import Need as Need
    from models.need import list_needs as list_needs
    from models.need import load_need as load_need
    from models.need import parse_need as parse_need
    from models.registry import approve as approve
    from models.registry import approved_model as approved_model
    from models.registry import configure as configure
    from models.registry import log_run as log_run
    from models.rule import RuleModel as RuleModel
    from models.rule import rule_order as rule_order
    from models.splits import Split as Split
    from models.splits import split_periods as split_periods
    from models.ties import tie_keys as tie_keys
    from models.training import NeedModel as NeedModel
    from models.training import load_model as load_model
    from models.training import train as train
    from models.uplift_learning import uplift as uplift
    from models.uplift_learning import worth_of_uplift as worth_of_uplift
    from models.uplift_trial import randomised_trial as randomised_trial


def __getattr__(name: str) -> Any:
    # Imported when asked for: MLflow, LightGBM and numba must not slow what needs none of them.
    if name in _MODULE_OF:
        return getattr(importlib.import_module(f"models.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module 'models' has no attribute '{name}'")
