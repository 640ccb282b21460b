"""Other projects' own tests, run with Stateroom: aiohttp's and aiohttp-session's.

Nothing of theirs is in this repository. `sdists.py` downloads their published sources when the tests run.
"""
