"""Ethics: principles as executable checks, signed verdicts, and no verdict no score. Imports nothing of ours."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOME_OF = {
    "principles": ("PRINCIPLES", "Principle"),
    "objections": ("ObjectionRegister",),
    "audit_log": ("AuditLog",),
    "groups": ("GroupRegister",),
    "fairness": ("Cuts", "FairnessTable", "Thresholds", "audit_cut", "measure", "tabulate"),
    "gate": (
        "LIST_CHECKS",
        "ONLINE_CHECKS",
        "Check",
        "Evidence",
        "ListEvidence",
        "Policy",
        "Verdict",
        "judge",
        "judge_list",
    ),
    "cells": ("cells_from_bytes",),
    "attestation": ("Attestation", "SignedAttestation", "open_groups", "read_attestations", "sign_attestation"),
    "keys": ("KeyRing", "TrustedKey"),
    "stop_switch": ("StopSwitch",),
    "signing": ("VerifiedVerdict", "countersign", "seal", "verify"),
    "public_summary": ("render_public_summary",),
    "report": ("render_report",),
    "refusals": ("BadInput", "Blocked", "Fault", "Inconclusive", "NotTrusted", "Refusal"),
}
_MODULE_OF = {name: module for module, names in _HOME_OF.items() for name in names}
__all__ = sorted(_MODULE_OF)

if TYPE_CHECKING:
    from ethics.attestation import Attestation as Attestation
    from ethics.attestation import SignedAttestation as SignedAttestation
    from ethics.attestation import open_groups as open_groups
    from ethics.attestation import read_attestations as read_attestations
    from ethics.attestation import sign_attestation as sign_attestation
    from ethics.audit_log import AuditLog as AuditLog
    from ethics.cells import cells_from_bytes as cells_from_bytes
    from ethics.fairness import Cuts as Cuts
    from ethics.fairness import FairnessTable as FairnessTable
    from ethics.fairness import Thresholds as Thresholds
    from ethics.fairness import audit_cut as audit_cut
    from ethics.fairness import measure as measure
    from ethics.fairness import tabulate as tabulate
    from ethics.gate import LIST_CHECKS as LIST_CHECKS
    from ethics.gate import ONLINE_CHECKS as ONLINE_CHECKS
    from ethics.gate import Check as Check
    from ethics.gate import Evidence as Evidence
    from ethics.gate import ListEvidence as ListEvidence
    from ethics.gate import Policy as Policy
    from ethics.gate import Verdict as Verdict
    from ethics.gate import judge as judge
    from ethics.gate import judge_list as judge_list
    from ethics.groups import GroupRegister as GroupRegister
    from ethics.keys import KeyRing as KeyRing
    from ethics.keys import TrustedKey as TrustedKey
    from ethics.objections import ObjectionRegister as ObjectionRegister
    from ethics.principles import PRINCIPLES as PRINCIPLES
    from ethics.principles import Principle as Principle
    from ethics.public_summary import render_public_summary as render_public_summary
    from ethics.refusals import BadInput as BadInput
    from ethics.refusals import Blocked as Blocked
    from ethics.refusals import Fault as Fault
    from ethics.refusals import Inconclusive as Inconclusive
    from ethics.refusals import NotTrusted as NotTrusted
    from ethics.refusals import Refusal as Refusal
    from ethics.report import render_report as render_report
    from ethics.signing import VerifiedVerdict as VerifiedVerdict
    from ethics.signing import countersign as countersign
    from ethics.signing import seal as seal
    from ethics.signing import verify as verify
    from ethics.stop_switch import StopSwitch as StopSwitch


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that ``import ethics`` costs nothing."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'ethics' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"ethics.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value
