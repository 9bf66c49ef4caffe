"""Miniatures, as the readers' tests have them."""

from tests.sources.conftest import miniature_of

__all__ = ["miniature_of"]
