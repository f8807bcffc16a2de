"""What a file handed to a unit says, whatever its format."""

from pathlib import Path
from zipfile import ZipFile

import polars as pl


def text_of(path):
    """All the text of a CSV, HTML, JSON, Parquet or XLSX file."""
    path = Path(path)
    if path.suffix == ".parquet":
        return str(pl.read_parquet(path).to_dicts())
    if path.suffix != ".xlsx":
        return path.read_text("utf-8")
    with ZipFile(path) as parts:
        return "".join(parts.read(name).decode("utf-8") for name in parts.namelist())
