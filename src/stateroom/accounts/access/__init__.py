"""Access rules: who may enter which application by forward auth."""

from .access import ACCESS, Access, doors_for_strangers, hidden_rules
from .model import Asked, Need, Person, Ruling

__all__ = ["ACCESS", "Access", "Asked", "Need", "Person", "Ruling", "doors_for_strangers", "hidden_rules"]
