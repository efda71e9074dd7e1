"""How a stage says how far it is."""

from __future__ import annotations

from collections.abc import Callable

from stdo.service.resources import ProgressUnit, Stage

Progress = Callable[[Stage, int, int, ProgressUnit], None]
"""Called with (stage, done, total, unit), as often as the stage likes. What it raises ends the stage.

The same figures again are a sign of life: a piece of work is done that they don't count. Without news or such signs a
step is taken to hang.
"""
