"""How a user's generation is read and raised, in one statement each, so that nobody changes it in between."""

from __future__ import annotations

from sqlalchemy import text

HOLD = text(
    "INSERT INTO session_generations (user_key, generation) VALUES (:user, 0) "
    "ON CONFLICT (user_key) DO UPDATE SET generation = session_generations.generation RETURNING generation"
)
"""Read the generation, and let nobody else change it before the transaction ends."""
RAISE = text(
    "INSERT INTO session_generations (user_key, generation) VALUES (:user, :least) "
    "ON CONFLICT (user_key) DO UPDATE SET generation = CASE WHEN session_generations.generation < excluded.generation "
    "THEN excluded.generation ELSE session_generations.generation + 1 END RETURNING generation"
)
"""Make it one higher, and at least `least`: a restored database may have forgotten some."""
AT_LEAST = text(
    "INSERT INTO session_generations (user_key, generation) VALUES (:user, :least) "
    "ON CONFLICT (user_key) DO UPDATE SET generation = CASE WHEN session_generations.generation < excluded.generation "
    "THEN excluded.generation ELSE session_generations.generation END"
)
