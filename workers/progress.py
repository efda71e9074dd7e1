"""How a stage says how far it is."""

from __future__ import annotations

from collections.abc import Callable

from stdo.service.resources import ProgressUnit, Stage

Progress = Callable[[Stage, int, int, ProgressUnit], None]
"""Called with (stage, done, total, unit), as often as the stage likes. What it raises ends the stage.

The same figures again are a sign of life: some work is done that they don't count. A part without news or such signs is
taken to hang.
"""
