"""Sealed values: what a client keeps and cannot read or change."""
