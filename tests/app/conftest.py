from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.app.live import LiveApi, live_api
from tests.deployments import Deployment


@pytest.fixture
def api(deployment: Deployment) -> Iterator[LiveApi]:
    """The API in each of the service's settings."""
    with live_api(deployment) as live:
        yield live


@pytest.fixture
def embedded_api(embedded_deployment: Deployment) -> Iterator[LiveApi]:
    """The API in embedded mode, for what does not depend on the setting."""
    with live_api(embedded_deployment) as live:
        yield live
