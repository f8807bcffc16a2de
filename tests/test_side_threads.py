"""Pieces read ahead in a thread: in order, with errors at their place, and no thread left behind."""

import threading
import time
from itertools import count, islice

import numpy as np
import polars as pl
import pytest

from features import event_log
from features.city import DataError, open_city
from features.side_threads import read_ahead


def readers():
    return threading.active_count()


def test_pieces_come_in_their_order_and_an_error_at_its_place():
    def pieces():
        yield from range(5)
        raise OSError("damaged here")

    before, seen = readers(), []
    with pytest.raises(OSError, match="damaged here"):
        seen.extend(read_ahead(pieces, 2))
    with pytest.raises(OSError, match="damaged here"):
        for piece in read_ahead(pieces, 2):
            seen.append(piece)
    assert seen == [0, 1, 2, 3, 4] or seen == [0, 1, 2, 3, 4] * 2
    assert readers() == before


def test_no_more_are_made_than_asked_for_and_none_when_nobody_listens():
    made, before = [], readers()

    def pieces():
        for number in count():
            made.append(number)
            yield number

    reading = read_ahead(pieces, 3)
    assert list(islice(reading, 2)) == [0, 1]
    reading.close()
    assert readers() == before
    n = len(made)
    assert n <= 2 + 3 + 2
    deadline = time.monotonic() + 0.3
    while time.monotonic() < deadline:
        assert len(made) == n


def city_of(folder, n=3_000, n_files=5):
    """Events of many persons in some files, in no order, with ties."""
    rng = np.random.default_rng(4)
    (folder / "events").mkdir(parents=True)
    (folder / "city.toml").write_text("extract_date = 2024-12-31\n")
    pl.DataFrame({"person_id": [f"{i:03d}" for i in range(100)]}).write_parquet(folder / "persons.parquet")
    for part in range(n_files):
        pl.DataFrame(
            {
                "person_id": [f"{i:03d}" for i in rng.integers(0, 104, n)],
                "event_date": pl.Series(rng.integers(19_000, 20_200, n)).cast(pl.Int32).cast(pl.Date),
                "code": [f"c{part}.{i}" for i in rng.integers(0, 9, n)],
                "value": rng.normal(size=n),
            }
        ).write_parquet(folder / "events" / f"{part}.parquet", row_group_size=700)
    return folder


def test_threads_read_the_same_log_and_the_same_rejects(tmp_path, monkeypatch):
    folder = city_of(tmp_path / "city")
    alone = open_city(folder, max_reject_share=0.5)
    monkeypatch.setattr(event_log, "_ROWS_FOR_THREADS", 0)
    beside = open_city(folder, max_reject_share=0.5)
    assert alone.digest == beside.digest and alone.rejects.equals(beside.rejects)
    assert alone.rejects.height and alone.n_event_rows == beside.n_event_rows == 15_000


def test_threads_name_every_damaged_file(tmp_path, monkeypatch):
    folder = city_of(tmp_path / "city")
    for part in (1, 3):
        path = folder / "events" / f"{part}.parquet"
        content = bytearray(path.read_bytes())
        content[8 : len(content) // 2] = bytes(len(content) // 2 - 8)
        path.write_bytes(content)
    told = []
    for rows in (2**30, 0):
        monkeypatch.setattr(event_log, "_ROWS_FOR_THREADS", rows)
        with pytest.raises(DataError) as refusal:
            open_city(folder, max_reject_share=0.5)
        told.append([tuple(fault) for fault in refusal.value.faults])
    assert told[0] == told[1] and len(told[0]) == 2
