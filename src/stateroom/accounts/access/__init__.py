"""Access rules: who may enter which application by forward auth."""

from .access import ACCESS, Access
from .model import Asked, Need, Person, Ruling

__all__ = ["ACCESS", "Access", "Asked", "Need", "Person", "Ruling"]
