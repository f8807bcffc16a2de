"""Pre-school places at the size of a large city: children × units, wall and CPU time, and beside the nearest-unit rule.

Prints one JSON line per size. Usage: python tests/benchmarks/bench_assignment.py [--children 10000] [--units 300]
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from datetime import date

import numpy as np
import polars as pl

from features.synthetic_places import ACCEPTANCE
from scoring.assignment import propose_places
from scoring.place_settings import load_settings
from scoring.place_tables import PlaceTables

LIMIT_SECONDS = 60
FLAGS = {"special_support": 0.08, "custody_split": 0.03, "safety_ban": 0.004, "secrecy_order": 0.006}


def invented_tables(n_children: int, n_units: int, seed: int) -> PlaceTables:
    """Units with a few more places than children, in clusters, so that many units are too small for those around."""
    rng = np.random.default_rng(seed)
    at = rng.uniform(0, 1_300 * np.sqrt(n_units), (n_units, 2))
    swedish_unit = np.arange(n_units) % 10 == 1
    swedish = rng.random(n_children) < 0.08
    family = np.where(rng.random(n_children) < 0.02, rng.integers(0, n_children // 100 + 1, n_children), -1)
    household = np.where(family >= 0, n_children + family, np.arange(n_children))
    centre = rng.integers(0, n_units, household.max() + 1)[household]
    home = at[centre] + rng.normal(0, 1_200, (household.max() + 1, 2))[household]
    places = np.zeros(n_units, dtype=np.int64)
    for is_swedish in (True, False):
        units, wanted = swedish_unit == is_swedish, int((swedish == is_swedish).sum() * 1.04)
        weight = rng.uniform(0.5, 1.5, n_units) * units
        places += np.ceil(weight / weight.sum() * wanted).astype(np.int64)
    ids = [f"u{number:04d}" for number in range(n_units)]
    language = np.where(swedish_unit, "sv", "fi")
    units = {"unit_id": ids, "name": ids, "x": at[:, 0], "y": at[:, 1], "places": places}
    has_sibling = rng.random(n_children) < 0.3
    children = {
        "person_id": [f"{number:06d}" for number in range(n_children)],
        "start_year": np.full(n_children, 2026),
        "x": home[:, 0],
        "y": home[:, 1],
        "language": np.where(swedish, "sv", "fi"),
        "family": [f"f{one}" if one >= 0 else None for one in family.tolist()],
        "sibling_unit": [ids[one] if has else None for one, has in zip(centre.tolist(), has_sibling, strict=True)],
        **{name: rng.random(n_children) < share for name, share in FLAGS.items()},
    }
    return PlaceTables(
        pl.DataFrame(units).with_columns(languages=pl.Series([[one] for one in language])),
        pl.DataFrame(children),
        invented_offers(rng, 4 * n_children),
    )


def invented_offers(rng: np.random.Generator, n: int) -> pl.DataFrame:
    """Offers of four years, accepted as the invented city's families accept."""
    metres = rng.gamma(2.0, 450.0, n)
    sibling, own = rng.random(n) < 0.2, rng.random(n) < 0.97
    return pl.DataFrame(
        {
            "person_id": [f"{number:07d}" for number in range(n)],
            "offered_on": [date(2022 + number % 4, 1, 8) for number in range(n)],
            "metres": metres,
            "sibling_in_unit": sibling,
            "own_language": own,
            "accepted": rng.random(n) < ACCEPTANCE.chance(metres / 1_000, sibling, ~own),
        }
    )


def timed(n_children: int, n_units: int, seed: int = 0) -> dict[str, object]:
    """Propose once, and say what it took and what came of it."""
    tables, settings = invented_tables(n_children, n_units, seed), load_settings()
    wall, cpu = time.perf_counter(), time.process_time()
    found = propose_places(tables, date(2026, 1, 8), settings, secret=bytes(32))
    taken = {"wall_s": round(time.perf_counter() - wall, 2), "cpu_s": round(time.process_time() - cpu, 2)}
    return {
        "bench": "assignment",
        "children": n_children,
        "units": n_units,
        **taken,
        "limit_s": LIMIT_SECONDS,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "exceptions": found.exceptions.height,
        "no_place": found.no_place.height,
        "units_over_places": int((found.units["proposed"] + found.units["held"] > found.units["places"]).sum()),
        "is_cheapest": found.is_cheapest,
        **{f"ours_{name}": value for name, value in shown(found.ours).items()},
        **{f"nearest_{name}": value for name, value in shown(found.nearest).items()},
    }


def shown(one) -> dict[str, object]:
    """A summary with its numbers rounded."""
    expected = [round(part, 1) for part in one.expected_acceptances]
    return {
        "placed": one.placed,
        "walking_km": round(one.walking_metres / 1_000, 1),
        "expected_acceptances": expected,
        "siblings_together": one.siblings_together,
    }


def main() -> None:
    """Print a line for a small size, which also compiles, and one for the size asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--children", type=int, default=10_000)
    parser.add_argument("--units", type=int, default=300)
    options = parser.parse_args()
    for size in ((300, 10), (options.children, options.units)):
        print(json.dumps(timed(*size)), flush=True)


if __name__ == "__main__":
    main()
