"""The id of each reason why a verdict is not trusted: the same in every message, version and language.

A fault carries its id (``Fault.code``); messages end with it, and ``--json`` holds it. An id is never given to another
reason.
"""

from __future__ import annotations

ENVELOPE = "V01"
SIGNATURE = "V02"
UNKNOWN_KEY = "V03"
ROLE_MISSING = "V04"
ONE_KEY_TWICE = "V05"
ONE_HOLDER_TWICE = "V06"
EXPIRED = "V07"
NOT_YET_VALID = "V08"
KEY_EXPIRED = "V09"
KEY_NOT_YET_VALID = "V10"
KEY_REVOKED = "V11"
KEY_RETIRED = "V12"
REVOKED = "V13"
STOPPED = "V14"
OTHER_USE = "V15"
CONTRADICTION = "V16"
TOO_LONG = "V17"
DEMONSTRATION = "V18"
AUTHOR_AUDITS = "V19"
CHECK_MISSING = "V20"
CHECK_UNKNOWN = "V21"
NOT_A_NUMBER = "V22"
NO_GROUP = "V23"
CHECK_ERROR = "V24"
CHAIN = "V25"
STATISTICS = "V26"
REPORT = "V27"
REVOCATIONS = "V28"
POLICY_SIGNATURE = "V29"
STATEMENT_SIGNER = "V30"

SUBJECT = {
    "model": "V31",
    "need": "V32",
    "policy": "V33",
    "code": "V34",
    "environment": "V35",
    "training_matrix": "V36",
    "test_matrix": "V37",
    "cells": "V38",
    "seed": "V39",
    "replicates": "V40",
    "design_effect": "V41",
}
"""Signed subject → the id of "differs from what is used, or from what was recorded at judging"."""
LOG_GONE = "V42"
STATEMENT_FILE = "V43"

MEANING = {
    ENVELOPE: "the envelope cannot be read, is not canonical, or holds another type of payload",
    SIGNATURE: "a signature does not match what was signed",
    UNKNOWN_KEY: "signed by a key that is not trusted",
    ROLE_MISSING: "a role that must sign has not",
    ONE_KEY_TWICE: "one key signed twice",
    ONE_HOLDER_TWICE: "one holder signed twice, with two keys",
    EXPIRED: "the verdict has expired",
    NOT_YET_VALID: "the verdict begins later than the clock here says",
    KEY_EXPIRED: "a signer's key has expired",
    KEY_NOT_YET_VALID: "a signer's key is not valid yet",
    KEY_REVOKED: "a signer's key was revoked",
    KEY_RETIRED: "signed with a key after another had taken its place",
    REVOKED: "the verdict was revoked",
    STOPPED: "the stop switch is set",
    OTHER_USE: "another use than the one judged",
    CONTRADICTION: "the payload is no verdict, or contradicts itself",
    TOO_LONG: "the verdict claims to hold for longer than any may",
    DEMONSTRATION: "a demonstration where a real verdict is needed, or not marked as one",
    AUTHOR_AUDITS: "the auditor trained the model",
    CHECK_MISSING: "a required check did not run",
    CHECK_UNKNOWN: "a check that does not exist is required",
    NOT_A_NUMBER: "a statistic is not a number",
    NO_GROUP: "no group was measured",
    CHECK_ERROR: "a check could not be answered",
    CHAIN: "the chain of the need's verdicts does not hold",
    STATISTICS: "a statistic is not what the cells give",
    REPORT: "the report is not what verdict and cells give",
    REVOCATIONS: "the list of revoked verdicts cannot be read",
    POLICY_SIGNATURE: "the policy is not signed as a policy must be",
    STATEMENT_SIGNER: "a statement that the verdict rests on is signed by a key that is unknown, or was revoked",
    LOG_GONE: "the audit log lacks acts that its home shows were done",
    STATEMENT_FILE: "the file of a statement is not the one that was signed, or not what the verdict tells of it",
    **{id: f"the {name.replace('_', ' ')} is not the one that was judged" for name, id in SUBJECT.items()},
}
"""Id → what it means, for documents and tests."""
