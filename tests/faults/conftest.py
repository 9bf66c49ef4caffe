from tests.fetch.conftest import project

__all__ = ["project"]
