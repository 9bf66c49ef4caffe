"""What is known of a dataset before a byte of it is read: `Card`, and the layouts that several sets share."""

from openmedq.cards.card import Access, Card, File, LinkedPicture, Set

__all__ = ["Access", "Card", "File", "LinkedPicture", "Set"]
