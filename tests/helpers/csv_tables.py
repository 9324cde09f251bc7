"""Small files of source table, shared by tests."""

from twotower_jax.data.config import ColumnsConfig, DataConfig

CSV = "user,item,time,clicked,age\nu1,7,10,1,20\nu2,8,11,0,40\nu1,8,12,1,20\n"


def write(folder, name, text):
    path = folder / name
    path.write_text(text)
    return str(path)


def table(path, columns=None, **keys):
    return DataConfig(
        source="table", path=path, columns=ColumnsConfig(**(columns or {})), **keys
    )


ROWS = 60


def text(header, row, separator=","):
    """Return a table of rows that a function of the number of the row makes."""
    lines = [separator.join(map(str, row(i))) for i in range(ROWS)]
    return "\n".join([*([header] if header else []), *lines]) + "\n"
