"""Needs, the models and rules that rank for them, and what is known about how well they do.

In a notebook::

    from pathlib import Path

    from ethics import ObjectionRegister
    from features import open_city
    from models import baselines_plot, lay_out, load_need, run_experiment
    from sqlalchemy import create_engine

    def step(text, done=0, total=0):
        print(text)

    city, need = open_city("city"), load_need(Path("needs/youth.toml"))
    # Who objected is in no matrix, so every matrix asks. A home keeps its own register; this one is empty.
    objections = ObjectionRegister(create_engine("sqlite://"), b"16 bytes or more")
    laid = lay_out(city, need, objections, 0, step)  # laid.split, laid.attrition, laid.matrix
    experiment = run_experiment(city, need, objections, 0, step, laid=laid)
    baselines_plot(experiment.baselines, need.capacity.k)  # bytes of a PNG

``notebooks/`` shows the rest; docs/notebooks.md runs these lines.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOME_OF = {
    "need": ("Need", "list_needs", "load_need", "parse_need"),
    "need_draft": ("DraftAnswers", "draft_need"),
    "need_review": ("Remark", "review_in_city", "review_need"),
    "splits": ("Split", "split_periods"),
    "experiment_layout": ("Layout", "lay_out"),
    "training": ("NeedModel", "load_model", "train"),
    "rule": ("RuleModel", "rule_order"),
    "experiment": ("Experiment", "run_experiment"),
    "baselines": ("run_baselines",),
    "metrics": ("Estimate", "evaluate", "found_difference", "precision_at_k", "recall_at_k"),
    "censoring": ("censoring_differences", "censoring_weights"),
    "curves": ("k_curve", "net_benefit", "reliability"),
    "list_comparison": ("error_crosstab", "list_overlap", "subset_performance"),
    "selection": ("SearchResult", "search"),
    "regret": ("choose",),
    "feature_refits": ("feature_value",),
    "learning_shares": ("learning_curve",),
    "plots": (
        "attrition_plot",
        "baselines_plot",
        "feature_value_plot",
        "learning_curve_plot",
        "net_benefit_curve",
        "origins_plot",
        "ranking_curve",
        "regret_plot",
        "reliability_diagram",
        "split_timeline",
    ),
    "ties": ("tie_keys",),
    "benefit": ("benefit_grounds", "check_wording", "load_evidence_table"),
    "benefit_ranking": ("compare_with_risk", "expected_benefit", "rank_by_benefit"),
    "uplift_trial": ("randomised_trial",),
    "uplift_learning": ("uplift", "worth_of_uplift"),
    "evidence": ("gather_evidence",),
    "gate_case": ("load_evidence",),
    "tracking": ("configure", "log_run"),
    "registry": ("approve", "approved_model", "set_shadow"),
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
    from models.censoring import censoring_differences as censoring_differences
    from models.censoring import censoring_weights as censoring_weights
    from models.curves import k_curve as k_curve
    from models.curves import net_benefit as net_benefit
    from models.curves import reliability as reliability
    from models.evidence import gather_evidence as gather_evidence
    from models.experiment import Experiment as Experiment
    from models.experiment import run_experiment as run_experiment
    from models.experiment_layout import Layout as Layout
    from models.experiment_layout import lay_out as lay_out
    from models.feature_refits import feature_value as feature_value
    from models.gate_case import load_evidence as load_evidence
    from models.learning_shares import learning_curve as learning_curve
    from models.list_comparison import error_crosstab as error_crosstab
    from models.list_comparison import list_overlap as list_overlap
    from models.list_comparison import subset_performance as subset_performance
    from models.metrics import Estimate as Estimate
    from models.metrics import evaluate as evaluate
    from models.metrics import found_difference as found_difference
    from models.metrics import precision_at_k as precision_at_k
    from models.metrics import recall_at_k as recall_at_k
    from models.need import Need as Need
    from models.need import list_needs as list_needs
    from models.need import load_need as load_need
    from models.need import parse_need as parse_need
    from models.need_draft import DraftAnswers as DraftAnswers
    from models.need_draft import draft_need as draft_need
    from models.need_review import Remark as Remark
    from models.need_review import review_in_city as review_in_city
    from models.need_review import review_need as review_need
    from models.plots import attrition_plot as attrition_plot
    from models.plots import baselines_plot as baselines_plot
    from models.plots import feature_value_plot as feature_value_plot
    from models.plots import learning_curve_plot as learning_curve_plot
    from models.plots import net_benefit_curve as net_benefit_curve
    from models.plots import origins_plot as origins_plot
    from models.plots import ranking_curve as ranking_curve
    from models.plots import regret_plot as regret_plot
    from models.plots import reliability_diagram as reliability_diagram
    from models.plots import split_timeline as split_timeline
    from models.registry import approve as approve
    from models.registry import approved_model as approved_model
    from models.registry import set_shadow as set_shadow
    from models.regret import choose as choose
    from models.rule import RuleModel as RuleModel
    from models.rule import rule_order as rule_order
    from models.selection import SearchResult as SearchResult
    from models.selection import search as search
    from models.splits import Split as Split
    from models.splits import split_periods as split_periods
    from models.ties import tie_keys as tie_keys
    from models.tracking import configure as configure
    from models.tracking import log_run as log_run
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


def __dir__() -> list[str]:
    """Also what is not loaded yet, so that a notebook completes it."""
    return sorted({*globals(), *__all__})
