"""Which methods an address has: the router itself only knows the first route that it finds."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.routing import BaseRoute, Match
from starlette.types import Scope

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def allowed_methods(scope: Scope) -> list[str]:
    """Methods of the request's address, for the Allow header; empty where there is no such address."""
    routes: Sequence[BaseRoute] = scope["app"].router.routes
    found = [method for method in METHODS if _has_route(routes, {**scope, "method": method})]
    if "GET" in found:
        found.insert(1, "HEAD")
    return [*found, "OPTIONS"] if found else []


def _has_route(routes: Sequence[BaseRoute], scope: Scope) -> bool:
    return any(route.matches(scope)[0] is Match.FULL for route in routes)
