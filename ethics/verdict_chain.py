"""The chain of a need's verdicts: each names what the one before it says, so one taken away or edited is noticed.

A link is the SHA-256 of the payload, not of the envelope: a signature added later breaks nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ethics.digests import sha256
from ethics.envelopes import check_signatures, open_envelope
from ethics.refusal_ids import CHAIN, SIGNATURE
from ethics.refusals import Fault, NotTrusted
from ethics.verdict import Verdict

if TYPE_CHECKING:
    from ethics.keys import TrustedKey

_RESTORE = "Restore the verdicts of this need from the backup"


@dataclass(frozen=True)
class Link:
    """One verdict of a chain: where it lies, what it says, and the digest of that."""

    where: str
    verdict: Verdict
    payload_sha256: str


def read_chain(
    files: Iterable[tuple[str, bytes]], trust: Mapping[str, TrustedKey] | None = None
) -> tuple[list[Link], list[Fault]]:
    """The verdicts of some signed files, and every reason why their chain does not hold.

    Parameters
    ----------
    files : (name, envelope)
        All verdicts of one need; the name is the folder's, which is the verdict's id.
    trust : mapping, optional
        Public keys: with them each signature is verified too (its keys' dates belong to the moment of signing, and are
        not asked here).

    Returns
    -------
    (list of Link, list of Fault)
        Links in the order of their moments. A fault names the verdict that was edited, put elsewhere, forked from,
        issued out of order, or is missing.
    """
    links, faults = [], []
    for name, content in files:
        try:
            envelope = open_envelope(content, name)
            verdict = Verdict.from_json(json.loads(envelope.payload))
        except NotTrusted as refusal:
            where = f"verdict chain: {name}"
            faults += [fault._replace(where=where, code=fault.code or CHAIN) for fault in refusal.faults]
            continue
        except (ValueError, TypeError, AttributeError):
            faults.append(Fault(f"verdict chain: {name}", "holds no readable verdict", _RESTORE, CHAIN))
            continue
        links.append(Link(name, verdict, sha256(envelope.payload)))
        if verdict.verdict_id != name:
            faults.append(Fault(f"verdict chain: {name}", f"is {verdict.verdict_id}", _RESTORE, CHAIN))
        if trust is not None:
            _, wrong = check_signatures(envelope, trust, verdict.issued_at, f"verdict chain: {name}")
            faults += [fault for fault in wrong if fault.code == SIGNATURE]
    links.sort(key=lambda link: (link.verdict.issued_at, link.where))
    return links, faults + _broken(links)


def _broken(links: list[Link]) -> list[Fault]:
    """Where the links do not make one chain."""
    faults = []
    known = {link.payload_sha256: link for link in links}
    followers: dict[str | None, list[Link]] = {}
    for link in links:
        before = link.verdict.previous_sha256
        followers.setdefault(before, []).append(link)
        where = f"verdict chain: {link.where}"
        if before is None:
            continue
        if before not in known:
            wrong = f"names {before[:12]}… as the verdict before it, and no such verdict is kept here"
            faults.append(Fault(where, wrong, _RESTORE, CHAIN))
        elif known[before].verdict.issued_at > link.verdict.issued_at:
            wrong = f"follows {known[before].where}, which was issued after it"
            faults.append(Fault(where, wrong, _RESTORE, CHAIN))
    for before, after in followers.items():
        if len(after) > 1:
            names = ", ".join(link.where for link in after)
            whom = known[before].where if before in known else "nothing" if before is None else f"{before[:12]}…"
            wrong = f"fork: {names} each follow {whom}"
            faults.append(Fault("verdict chain", wrong, "One of them was slipped in, or one before was lost", CHAIN))
    return faults


def latest(links: list[Link]) -> Link | None:
    """The verdict that no other follows; of several (a fork) the one issued last."""
    followed = {link.verdict.previous_sha256 for link in links}
    ends = [link for link in links if link.payload_sha256 not in followed]
    return max(ends, key=lambda link: (link.verdict.issued_at, link.where), default=None)
