"""What models cost, as their cards say."""

from zaffre.core.metering import PriceList
from zaffre.registry.catalogue import catalogue
from zaffre.registry.store import ModelStore


def find_prices(store: ModelStore) -> PriceList:
    """Prices by model: those of the catalogue, then those of cards on this machine. Blocks."""
    cards = [entry.card for entry in catalogue()] + [model.card for model in store.installed()]
    return {card.name: card.prices for card in cards if card.prices is not None}
