"""Until when what was verified holds: the verdict, the keys that signed it and its policy, what founds its words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, NamedTuple

from ethics.refusal_ids import EXPIRED, KEY_RETIRED
from ethics.refusals import Fault

if TYPE_CHECKING:
    from ethics.keys import TrustedKey
    from ethics.policy import Policy
    from ethics.signing import VerifiedVerdict
    from ethics.verdict import Verdict
    from models.need import Need
    from serving.home import Home


class Ending(NamedTuple):
    """From a moment on, why something that was verified before holds no more."""

    at: datetime
    fault: Fault


def endings_of(
    home: Home, verified: VerifiedVerdict, policy: Policy | None, trust: Mapping[str, TrustedKey], need: Need
) -> tuple[Ending, ...]:
    """All that will end a champion's trust by the clock alone, without any file being changed; the earliest first.

    Parameters
    ----------
    home : Home
    verified : VerifiedVerdict
    policy : Policy or None
        As its officers signed it; None where nobody did.
    trust : mapping of key id to TrustedKey
        By which both were verified.
    need : Need
        The need of the model.
    """
    signed_by = {signed.keyid: signed.key for signed in verified.signed_by}
    keyids = [str(signer["keyid"]) for signer in (policy.signed_by if policy else ())]
    officers = {keyid: trust[keyid] for keyid in keyids}
    found = [_of_verdict(verified.verdict), *_of_keys({**signed_by, **officers})]
    found += [_of_retirement(keyid, key, key.retired_at) for keyid, key in officers.items() if key.retired_at]
    return tuple(sorted([*found, *_of_effects(home, need)], key=lambda ending: ending.at))


def _of_verdict(verdict: Verdict) -> Ending:
    wrong = f"expired at {verdict.expires_at.isoformat(timespec='seconds')}"
    return Ending(verdict.expires_at, Fault("verdict", wrong, "Judge, sign and approve the model again", EXPIRED))


def _of_keys(keys: Mapping[str, TrustedKey]) -> Iterable[Ending]:
    """When each key expires: from then on a fresh verification refuses what it signed, with the same fault."""
    for keyid, key in keys.items():
        fault = key.date_fault(keyid, key.valid_to)
        if fault is not None:
            yield Ending(key.valid_to, fault)


def _of_retirement(keyid: str, key: TrustedKey, retired_at: datetime) -> Ending:
    """A policy's signers must hold their keys at every use."""
    fault = key.retired_fault(keyid, retired_at)
    return Ending(retired_at, fault or Fault(f"key {keyid[:12]}", "is retired", "Sign the policy anew", KEY_RETIRED))


def _of_effects(home: Home, need: Need) -> Iterable[Ending]:
    """When the evidence table that alone founds the need's words is to be reviewed; its day counts to the end."""
    from models.benefit_report import unfounded_words

    if not unfounded_words(need):
        return
    trial = home.trial_of(need.id)
    table = home.effects
    if table is None or (trial is not None and trial.shows_benefit):
        return
    wrong = f"was to be reviewed by {table.review_by}, which has passed"
    fault = Fault(str(home.effects_path), wrong, "Review its effects, and give the day of the next review")
    yield Ending(datetime.combine(table.review_by + timedelta(days=1), time(), UTC), fault)
