"""Statements that read and raise a user's generation, one statement for each step, so that no change comes between."""

from __future__ import annotations

from sqlalchemy import text

HOLD = text(
    "INSERT INTO session_generations (user_key, generation) VALUES (:user, 0) "
    "ON CONFLICT (user_key) DO UPDATE SET generation = session_generations.generation RETURNING generation"
)
"""Read the generation, and lock it until the transaction ends."""
RAISE = text(
    "INSERT INTO session_generations (user_key, generation) VALUES (:user, :least) "
    "ON CONFLICT (user_key) DO UPDATE SET generation = CASE WHEN session_generations.generation < excluded.generation "
    "THEN excluded.generation ELSE session_generations.generation + 1 END RETURNING generation"
)
"""Make it one higher, and at least `least`, because a restored database may have forgotten some numbers."""
AT_LEAST = text(
    "INSERT INTO session_generations (user_key, generation) VALUES (:user, :least) "
    "ON CONFLICT (user_key) DO UPDATE SET generation = CASE WHEN session_generations.generation < excluded.generation "
    "THEN excluded.generation ELSE session_generations.generation END"
)
