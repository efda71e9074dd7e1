"""Who asks: what authentication finds out, and what every query of the service is bound to."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_TENANT = "default"
"""The one tenant that there is for now."""


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Somebody who may see the rows of one tenant, and no others."""

    tenant: str
    api_key_id: str | None
    """None where no key was needed: on the machine itself."""


LOCAL_CALLER = Caller(tenant=DEFAULT_TENANT, api_key_id=None)
"""Whoever sits at the machine: the command line, and embedded mode on a loopback address."""
