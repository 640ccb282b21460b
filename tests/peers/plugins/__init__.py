"""Plugins for the pytest process that runs other projects' tests. `suites.py` starts it."""
