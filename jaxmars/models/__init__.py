"""Neural networks: arrays in, arrays out."""

from jaxmars.models.decoder import KVCache, OrderNet, init_cache
from jaxmars.models.heads import HEADS, FactoredHead, Head, JointHead
from jaxmars.models.order_model import OrderModel

__all__ = [
    "HEADS",
    "FactoredHead",
    "Head",
    "JointHead",
    "KVCache",
    "OrderModel",
    "OrderNet",
    "init_cache",
]
