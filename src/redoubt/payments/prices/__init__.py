"""Prices as versioned data: a change is replayed over recorded orders, shown, and counts once a second person approved."""

from .models import PriceKey, PriceProposal, PriceVersion, RecordedOrder, Window
from .seal import genuine
from .service import KIND, Prices, set_first

__all__ = [
    "KIND",
    "PriceKey",
    "PriceProposal",
    "PriceVersion",
    "Prices",
    "RecordedOrder",
    "Window",
    "genuine",
    "set_first",
]
