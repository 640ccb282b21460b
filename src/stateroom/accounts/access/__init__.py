"""Access rules: who may enter which application by forward auth."""

from .model import Asked, Need, Person

__all__ = ["Asked", "Need", "Person"]
