"""Digests: what makes two things the same thing, to the byte (contracts.md §4 and §5)."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import rfc8785

PACKAGES = ("ethics", "features", "models", "scoring", "serving")
TOUCH_THE_SCORE = ("lightgbm", "numba", "numpy", "polars", "scikit-learn", "scipy", "fairlearn")
_DATA_NOT_CODE = ("models/needs/", "ethics/policy.toml")


def canonical_json(value: Any) -> bytes:
    """RFC 8785 bytes of a JSON value. Floats are refused: signed files hold decimals as strings.

    >>> canonical_json({"b": 1, "a": "0.5"})
    b'{"a":"0.5","b":1}'
    """
    _refuse_floats(value)
    return rfc8785.dumps(value)


def sha256(content: bytes) -> str:
    """SHA-256 as lower-case hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def decimal(value: float | None, digits: int = 6) -> str | None:
    """A number as signed files write it: a short decimal string, the same on every machine.

    >>> decimal(0.25), decimal(float("nan")), decimal(None)
    ('0.25', None, None)
    """
    if value is None or value != value:
        return None
    return f"{value:.{digits}g}"


def code_digest(root: Path | None = None) -> str:
    """SHA-256 over sorted path and hash of the code and message templates of the five packages.

    Needs and the policy are left out: they are subjects of their own in a verdict.
    """
    root = root or Path(__file__).resolve().parent.parent
    files = {
        path.relative_to(root).as_posix(): sha256(path.read_bytes())
        for package in PACKAGES
        for path in (root / package).rglob("*")
        if path.suffix in {".py", ".toml", ".jinja"} and "__pycache__" not in path.parts
    }
    return sha256(canonical_json({name: d for name, d in files.items() if not name.startswith(_DATA_NOT_CODE)}))


def environment() -> dict[str, str]:
    """Name → version of everything whose change could change a score."""
    return {"python": ".".join(map(str, sys.version_info[:3])), **{name: version(name) for name in TOUCH_THE_SCORE}}


def installed() -> dict[str, str]:
    """:func:`environment` of a machine that need not have every package, such as an auditor's."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in TOUCH_THE_SCORE:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def environment_digest() -> str:
    """SHA-256 of the canonical form of :func:`environment`."""
    return sha256(canonical_json(environment()))


def _refuse_floats(value: Any) -> None:
    if isinstance(value, float):
        raise TypeError(f"a signed file cannot hold the float {value!r}; write it as a decimal string")
    if isinstance(value, Mapping):
        for inner in value.values():
            _refuse_floats(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _refuse_floats(inner)
