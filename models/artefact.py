"""A model as files: a folder whose manifest names the digest of each, so that nothing altered is ever parsed.

``model_digest`` is the SHA-256 of the canonical manifest. It holds no times, run ids or thread counts, so training
again on the same data gives the same digest.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ethics.digests import canonical_json, sha256
from ethics.refusals import BadInput, Fault, NotTrusted

MANIFEST = "manifest.json"
FORMAT = 1
FILES = {
    "model": ("calibration.json", "columns.json", "need.toml", "trees.txt"),
    "rule": ("columns.json", "need.toml"),
}


def manifest_of(kind: str, need_id: str, files: Mapping[str, bytes], **facts: Any) -> bytes:
    """Canonical manifest of the files of a model (or rule) and of further facts without floats."""
    digests = {name: sha256(content) for name, content in sorted(files.items())}
    return canonical_json({"format": FORMAT, "kind": kind, "need": need_id, "files": digests, **facts})


def write_artefact(folder: Path, files: Mapping[str, bytes], manifest: bytes) -> None:
    """Write a whole artefact or nothing.

    Raises
    ------
    BadInput
        The folder exists already.
    """
    if folder.exists():
        raise BadInput(Fault(str(folder), "exists already", "Give a folder that does not exist"))
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for name, content in {**files, MANIFEST: manifest}.items():
            (unfinished / name).write_bytes(content)
        unfinished.replace(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def read_artefact(folder: Path, expected_digest: str | None = None) -> tuple[dict[str, bytes], dict[str, Any], bytes]:
    """Read every file once and compare its digest before anything of it is parsed.

    Parameters
    ----------
    folder : Path
    expected_digest : str, optional
        The model digest that somebody vouches for, e.g. a verified verdict's.

    Returns
    -------
    (files, manifest, manifest_bytes)
        The bytes that were hashed; parse these, not the files again.

    Raises
    ------
    NotTrusted
        Every file that is missing or differs from the manifest, with both digests.
    """
    content = _read(folder / MANIFEST)
    if content is None:
        raise NotTrusted(Fault(str(folder / MANIFEST), "is missing", "Train again, or restore the model from a backup"))
    if expected_digest is not None and sha256(content) != expected_digest:
        raise NotTrusted(_differs(folder / MANIFEST, sha256(content), expected_digest))
    try:
        manifest = json.loads(content)
        kind, listed = manifest["kind"], dict(manifest["files"])
        whole = manifest["format"] == FORMAT and sorted(listed) == sorted(FILES[kind])
        whole = whole and canonical_json(manifest) == content
    except (ValueError, TypeError, KeyError):
        whole = False
    if not whole:
        wrong = f"is not a manifest of format {FORMAT} (SHA-256 {sha256(content)[:12]}…)"
        raise NotTrusted(Fault(str(folder / MANIFEST), wrong, "Train again with this Ennakko"))
    files: dict[str, bytes] = {}
    faults = []
    for name, digest in sorted(listed.items()):
        found = _read(folder / name)
        if found is None:
            faults.append(Fault(str(folder / name), "is missing", "Restore the model from a backup, or train again"))
        elif sha256(found) != digest:
            faults.append(_differs(folder / name, sha256(found), digest))
        else:
            files[name] = found
    if faults:
        raise NotTrusted(*faults)
    return files, manifest, content


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _differs(path: Path, found: str, expected: str) -> Fault:
    wrong = f"has SHA-256 {found[:12]}…, and {expected[:12]}… is expected: it was altered"
    return Fault(str(path), wrong, "Restore it from a backup, or train and judge again")
