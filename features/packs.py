"""Packs: files that each hold some columns of one block of persons at one as-of date, whole and checked when read.

A pack is written beside, then renamed, by one writer at a time; a kill leaves a draft at most, which the next writer
removes. What a pack holds can always be computed again, so one that cannot be trusted is dropped. Layout under the
folder: ``k<secret>/b<blocks>/<block>/<as-of date>.<cohort>.<columns>.pack``, where every name but the date is a keyed
or plain hash and no person is named. Rows stand in the order of the persons' keyed hashes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ethics.whole_file import write_whole

_MAGIC = b"ennakko1"
# Magic, SHA-256 of all that follows it, then the numbers of columns and rows, and the lengths of the two last parts.
_HEAD = struct.Struct("<8s32sQQQQ")
KEY_BYTES = 16
_CODEC = "lz4"
_SECRET_FOLDER = re.compile(r"k[0-9a-f]{16}")
_BLOCKS_FOLDER = re.compile(r"b([1-9]\d*)")


class DamagedPackError(Exception):
    """The bytes of a pack are not the bytes that were written."""


@dataclass(frozen=True)
class PackName:
    """What a pack's name says: the date, and short hashes of its cohort and of its columns."""

    as_of_date: str
    cohort: str
    columns: str

    @classmethod
    def of(cls, as_of_date: str, cohort: bytes, keys: Sequence[bytes]) -> PackName:
        """The name of the pack with these columns: the same for whoever writes it."""
        return cls(as_of_date, cohort.hex()[:16], hashlib.sha256(b"".join(keys)).hexdigest()[:16])

    @classmethod
    def parse(cls, name: str) -> PackName | None:
        """The name of a pack; None for any other file."""
        parts = name.split(".")
        return cls(*parts[:3]) if len(parts) == 4 and parts[0] and parts[3] == "pack" else None

    def __str__(self) -> str:
        return f"{self.as_of_date}.{self.cohort}.{self.columns}.pack"


@dataclass(frozen=True, eq=False)
class Pack:
    """Columns of one block at one date.

    Attributes
    ----------
    keys : tuple of bytes (p,)
        16 bytes each: the hash of everything the column depends on.
    values : float32 (n, p)
    ingredients : mapping
        What went into the keys, so that a plan can say what differs.
    """

    keys: tuple[bytes, ...]
    values: NDArray[np.float32]
    ingredients: Mapping[str, Any]

    def to_bytes(self) -> bytes:
        """As it is written."""
        import pyarrow

        told = json.dumps(self.ingredients, sort_keys=True, separators=(",", ":")).encode()
        values = np.ascontiguousarray(self.values, dtype="<f4")
        data = pyarrow.compress(values.tobytes(), codec=_CODEC, asbytes=True)
        n, p = self.values.shape
        body = struct.pack("<QQQQ", p, n, len(told), len(data)) + b"".join(self.keys) + told + data
        content: bytes = _MAGIC + hashlib.sha256(body).digest() + body
        return content

    @classmethod
    def from_bytes(cls, content: bytes) -> Pack:
        """The pack that was written; DamagedPackError if a single bit differs."""
        import pyarrow

        if len(content) < _HEAD.size:
            raise DamagedPackError
        magic, digest, p, n, n_told, n_data = _HEAD.unpack_from(content)
        body = memoryview(content)[len(_MAGIC) + len(digest) :]
        if magic != _MAGIC or hashlib.sha256(body).digest() != digest:
            raise DamagedPackError
        told_at = _HEAD.size + KEY_BYTES * p
        told, data = content[told_at : told_at + n_told], content[told_at + n_told : told_at + n_told + n_data]
        values = np.frombuffer(pyarrow.decompress(data, 4 * n * p, codec=_CODEC, asbytes=True), dtype="<f4")
        return cls(_split(content[_HEAD.size : told_at]), values.reshape(n, p), json.loads(told))


def _split(keys: bytes) -> tuple[bytes, ...]:
    return tuple(keys[i : i + KEY_BYTES] for i in range(0, len(keys), KEY_BYTES))


class PackFolder:
    """The packs made under one secret; reads need no lock, whatever changes files does.

    Parameters
    ----------
    folder : Path
        Made when missing, for its owner alone.
    secret_name : str
        16 hexadecimal digits that tell one secret from another and give nothing of it away.
    """

    def __init__(self, folder: Path, secret_name: str) -> None:
        self.folder = folder
        self.root = folder / f"k{secret_name}"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One writer at a time among processes and threads; the lock ends with its holder, even a killed one."""
        descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def block(self, n_blocks: int, block: int) -> Path:
        """The folder of one block."""
        return self.root / f"b{n_blocks}" / f"{block:05d}"

    def other_divisions(self, n_blocks: int) -> bool:
        """Whether packs are kept for another number of blocks."""
        return any(path.parent.parent.name != f"b{n_blocks}" for path in self.root.glob("b*/*/*.pack"))

    def names(self, block: Path) -> list[PackName]:
        """The packs of a block, sorted by name."""
        try:
            found = sorted(entry.name for entry in os.scandir(block))
        except FileNotFoundError:
            return []
        return [name for entry in found if (name := PackName.parse(entry)) is not None]

    def read_keys(self, path: Path) -> tuple[bytes, ...]:
        """The keys of a pack's columns, unchecked: enough to pass over a pack that has nothing of use."""
        with path.open("rb") as file:
            return _read_keys(file)

    def read_ingredients(self, path: Path) -> tuple[tuple[bytes, ...], Mapping[str, Any]]:
        """Keys and ingredients of a pack without its values, unchecked but for being readable at all.

        Raises
        ------
        DamagedPackError
        """
        with path.open("rb") as file:
            keys, head = _read_keys(file), _HEAD.size
            file.seek(0)
            n_told = _HEAD.unpack(file.read(head))[4]
            file.seek(head + KEY_BYTES * len(keys))
            try:
                told = json.loads(file.read(min(n_told, os.fstat(file.fileno()).st_size)))
            except ValueError:
                raise DamagedPackError from None
        if not isinstance(told, dict) or len(told.get("specs", ())) != len(keys):
            raise DamagedPackError
        return keys, told

    def read(self, path: Path) -> Pack:
        """A pack, checked to the last bit.

        Raises
        ------
        DamagedPackError
        FileNotFoundError
            Pruned by another process in between.
        """
        return Pack.from_bytes(path.read_bytes())

    def write(self, block: Path, name: PackName, pack: Pack) -> int:
        """Write a pack, whole or not at all; the number of bytes. Only under the lock."""
        content = pack.to_bytes()
        for folder in (self.root, block.parent, block):
            folder.mkdir(exist_ok=True, mode=0o700)
        write_whole(block / str(name), content)
        return len(content)

    def drop(self, path: Path) -> None:
        """Remove a pack that cannot be trusted, if the folder lets us; whoever reads it next drops it again."""
        with suppress(OSError):
            path.unlink()

    def touch(self, path: Path) -> None:
        """Mark a pack as used now, for :meth:`prune`."""
        with suppress(OSError):
            os.utime(path)

    def drop_drafts(self) -> int:
        """Remove what killed writers left behind; how many files. Only under the lock: nobody else is writing."""
        drafts = [path for path in self.root.glob("b*/*/.*") if path.is_file()]
        for path in drafts:
            path.unlink(missing_ok=True)
        return len(drafts)

    def drop_block_of(self, first_key: int) -> int:
        """Remove every pack whose block has a person with this hash in it; how many. Only under the lock.

        Packs made under another secret cannot be searched for a person, so all of them go.
        """
        n = 0
        for folder in self.folder.iterdir():
            if _SECRET_FOLDER.fullmatch(folder.name) and folder != self.root:
                n += _remove(folder)
        for folder in self.root.iterdir() if self.root.is_dir() else ():
            if found := _BLOCKS_FOLDER.fullmatch(folder.name):
                n_blocks = int(found[1])
                n += _remove(self.block(n_blocks, block_of(first_key, n_blocks)))
        return n

    def prune(self, max_bytes: int) -> int:
        """Remove the packs used longest ago until the rest is small enough; bytes removed. Only under the lock."""
        packs = []
        for path in self.folder.glob("k*/b*/*/*.pack"):
            with suppress(FileNotFoundError):
                status = path.stat()
                packs.append((status.st_mtime_ns, str(path), status.st_size))
        total, removed = sum(size for *_, size in packs), 0
        for _, oldest, size in sorted(packs):
            if total - removed <= max_bytes:
                break
            Path(oldest).unlink(missing_ok=True)
            removed += size
        return removed


def block_of(first_key: int, n_blocks: int) -> int:
    """The block of a person, by the highest bits of a keyed hash; ``n_blocks`` is a power of two."""
    return first_key >> (64 - (n_blocks.bit_length() - 1))


def _read_keys(file: BinaryIO) -> tuple[bytes, ...]:
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size or not head.startswith(_MAGIC):
        raise DamagedPackError
    n_columns = _HEAD.unpack(head)[2]
    if KEY_BYTES * n_columns > os.fstat(file.fileno()).st_size:
        raise DamagedPackError
    return _split(file.read(KEY_BYTES * n_columns))


def _remove(folder: Path) -> int:
    """Remove a folder of packs; how many there were."""
    n = sum(1 for _ in folder.rglob("*.pack"))
    if folder.exists():
        shutil.rmtree(folder)
    return n
