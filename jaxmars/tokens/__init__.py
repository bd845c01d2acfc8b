"""Orders as model input and back."""

from jaxmars.tokens.bins import (
    BinConverter,
    BinTable,
    Converters,
    TokenTables,
    encode,
    load_converters,
    sample,
    save_converters,
)
from jaxmars.tokens.order import FeatureState, advance, init_features, order_features
from jaxmars.tokens.window import History, Window, history_of, rows_of

__all__ = [
    "BinConverter",
    "BinTable",
    "Converters",
    "FeatureState",
    "History",
    "TokenTables",
    "Window",
    "advance",
    "encode",
    "history_of",
    "init_features",
    "load_converters",
    "order_features",
    "rows_of",
    "sample",
    "save_converters",
]
