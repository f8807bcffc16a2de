import threading
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import Column, Integer, MetaData, Table, create_engine, inspect

from ethics.tables import make_tables

METADATA = MetaData()
for name in ("first", "second"):
    Table(name, METADATA, Column("number", Integer, primary_key=True))


def test_many_who_begin_at_once_all_find_the_tables(tmp_path):
    for world in range(20):
        url, start = f"sqlite:///{tmp_path / f'{world}.sqlite'}", threading.Barrier(8)

        def begin(_, url=url, start=start):
            engine = create_engine(url)
            start.wait()
            make_tables(engine, METADATA)
            return sorted(inspect(engine).get_table_names())

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(begin, range(8))) == [["first", "second"]] * 8


def test_tables_that_are_there_keep_their_rows(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path / 'home.sqlite'}")
    make_tables(engine, METADATA)
    with engine.begin() as connection:
        connection.execute(METADATA.tables["first"].insert().values(number=7))
    make_tables(engine, METADATA)
    with engine.connect() as connection:
        assert connection.execute(METADATA.tables["first"].select()).scalar() == 7
