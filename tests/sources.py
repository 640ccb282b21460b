"""Parses the package's source files, for tests that compare the code with a page."""

from __future__ import annotations

import ast
import gc
from pathlib import Path


def tree(path: Path) -> ast.Module:
    """The syntax tree of a file.

    The garbage collector pauses meanwhile. CPython 3.11 counts the depth of a tree that it builds in one place for the whole
    interpreter. A finalizer that formats a traceback also parses (for the carets), which would be a `SystemError` here:
    https://github.com/python/cpython/issues/106905.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    finally:
        if was_enabled:
            gc.enable()
