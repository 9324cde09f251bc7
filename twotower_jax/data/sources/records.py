"""Fields of records in cells, as columns: `properties.product_id`, `items.item_id`."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeVar

import polars as pl
from polars.datatypes import DataTypeClass

Table = TypeVar("Table", pl.DataFrame, pl.LazyFrame)


class Field(NamedTuple):
    """A column, or a field of the records in one.

    Attributes:
      name: of the column, and of each field on the way, joined by dots.
      column: that holds it.
      value: expression of the values.
    """

    name: str
    column: str
    value: pl.Expr


def fields(schema: Mapping[str, pl.DataType]) -> list[Field]:
    """Fields of a table whose cells may hold records, or lists of records.

    A field of a list of records is a list; other cells are fields by themselves.

    Examples:
      >>> record = pl.Struct({"id": pl.Int64, "tags": pl.List(pl.String)})
      >>> [one.name for one in fields({"user": pl.Int64, "items": pl.List(record)})]
      ['user', 'items.id', 'items.tags']
    """
    return [
        Field(name, column, value.alias(name))
        for column, kind in schema.items()
        for name, value in _fields(column, pl.col(column), kind)
    ]


def of_fields(table: Table) -> Table:
    """Table with a column for each of its fields; without records it stays as it is.

    Examples:
      >>> table = pl.DataFrame({"user": [1], "item": [{"id": 2, "price": 3.5}]})
      >>> of_fields(table).columns
      ['user', 'item.id', 'item.price']
    """
    schema = table.collect_schema()
    found = fields(schema)
    if [one.name for one in found] == schema.names():
        return table
    return table.select(one.value for one in found)


def _fields(
    name: str, value: pl.Expr, kind: pl.DataType | DataTypeClass
) -> Iterator[tuple[str, pl.Expr]]:
    if isinstance(kind, pl.Struct):
        for one in kind.fields:
            inner = value.struct.field(one.name)
            yield from _fields(f"{name}.{one.name}", inner, one.dtype)
    elif isinstance(kind, pl.List) and isinstance(kind.inner, pl.Struct):
        for one in kind.inner.fields:
            inner = value.list.eval(pl.element().struct.field(one.name))
            yield from _fields(f"{name}.{one.name}", inner, pl.List(one.dtype))
    else:
        yield name, value
