"""The price of a call auction by exhaustive search: every order price is tried.

Written from the description of the release (spec 4.1), not from our own bisection.
"""

Offer = tuple[int, int]  # price, size


def clearing_price(bids: list[Offer], asks: list[Offer], reference: int) -> tuple[int, int]:
    """Price and volume; (0, 0) if nothing trades.

    The largest volume; then the smallest imbalance, the price nearest to `reference` (0: none) and
    the higher price.
    """
    ranked = []
    for price in {price for price, _ in bids + asks}:
        volume = volume_at(bids, asks, price)
        if volume:
            imbalance = abs(willing_to_buy(bids, price) - willing_to_sell(asks, price))
            far = abs(price - reference) if reference > 0 else 0
            ranked.append((-volume, imbalance, far, -price))
    if not ranked:
        return 0, 0
    volume, _, _, price = min(ranked)
    return -price, -volume


def volume_at(bids: list[Offer], asks: list[Offer], price: int) -> int:
    """Shares an auction would trade at a price; 0 where the price is rejected."""
    buy_above = sum(size for p, size in bids if p > price)
    buy_at = sum(size for p, size in bids if p == price)
    sell_below = sum(size for p, size in asks if p < price)
    sell_at = sum(size for p, size in asks if p == price)
    if buy_above + buy_at < sell_below or buy_above > sell_below + sell_at:
        return 0
    return min(buy_above + buy_at, sell_below + sell_at)


def willing_to_buy(bids: list[Offer], price: int) -> int:
    return sum(size for p, size in bids if p >= price)


def willing_to_sell(asks: list[Offer], price: int) -> int:
    return sum(size for p, size in asks if p <= price)
