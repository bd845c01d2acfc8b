"""Neural networks: arrays in, arrays out."""

from jaxmars.models.decoder import KVCache, OrderNet, init_cache
from jaxmars.models.heads import HEADS, FactoredHead, Head, JointHead
from jaxmars.models.order_model import OrderModel
from jaxmars.models.precision import PRECISIONS, Precision, with_precision

__all__ = [
    "HEADS",
    "PRECISIONS",
    "FactoredHead",
    "Head",
    "JointHead",
    "KVCache",
    "OrderModel",
    "OrderNet",
    "Precision",
    "init_cache",
    "with_precision",
]
