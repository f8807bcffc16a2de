"""Which numbers of people each printed rate is worked out from: one table for the report, its attacker and its tests.

A rate that is declared to rest on other counts than it does is printed where these are withheld, and the attacker of
:mod:`ethics.suppression_attack`, who reads the same declaration, does not see it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

POWER, FAIR_PASS = "power", "fair_pass_share"
_COUNTS: Mapping[str, tuple[str, ...]] = {
    "recall": ("found_{cut}", "need"),
    "recall_ratio": ("found_{cut}", "need"),
    "missed_residents": ("found_{cut}", "need"),
    "precision": ("found_{cut}", "selected_{cut}"),
    "false_omission_rate": ("missed_{cut}", "below_{cut}"),
    "selection_rate": ("selected_{cut}", "n"),
    "observed_to_expected@none": ("need",),
    "observed_to_expected@below_k_audit": ("missed_k_audit",),
    # Their intervals are those of means over the group's people on the list, and tell how many these are.
    "mean_rank": ("selected_{cut}",),
    "exposure_ratio": ("selected_{cut}",),
    # From the expected need, which power is worked out from, and the ratio to it, need itself follows.
    POWER: ("need", "n"),
    # Fair worlds are drawn from everyone's rate of need and the sizes of groups alone.
    FAIR_PASS: ("n",),
    "need_at_score": ("events:{indicator}", "expected:{indicator}"),
}


def counts_behind(rate: str) -> tuple[str, ...]:
    """The columns of a table by group that a rate is worked out from: numerator first, then denominator.

    Parameters
    ----------
    rate : str
        ``measure@cut`` or ``measure:indicator@cut``, as :class:`ethics.report_tables.CountTable` names rates.

    Raises
    ------
    KeyError
        A rate whose counts nobody has declared: it cannot be printed.

    >>> counts_behind("selection_rate@k_audit"), counts_behind("observed_to_expected@none")
    (('selected_k_audit', 'n'), ('need',))
    """
    name, _, cut = rate.partition("@")
    measure, _, indicator = name.partition(":")
    columns = _COUNTS[rate] if rate in _COUNTS else _COUNTS[measure]
    return tuple(column.format(cut=cut, indicator=indicator) for column in columns)


def rates_on(rates: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The counts behind each of several rates, as ``CountTable.rates`` holds them."""
    return {rate: counts_behind(rate) for rate in rates}
