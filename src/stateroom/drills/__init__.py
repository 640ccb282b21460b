"""Drills: they break real servers on purpose and judge what clients of the service notice."""
