"""What ends the demo early."""

from __future__ import annotations


class DemoError(Exception):
    """The demo can't go on, or found something wrong; the message says what."""
