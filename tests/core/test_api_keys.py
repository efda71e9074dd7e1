from __future__ import annotations

from datetime import datetime

import pytest
from sqlalchemy import text

from core import api_keys
from core.api_keys import NewApiKey
from core.callers import DEFAULT_TENANT, LOCAL_CALLER, Caller
from core.errors import ApiKeyNotFoundError, InvalidApiKeyError
from tests.core.samples import NOON, after
from tests.deployments import Deployment


def create(deployment: Deployment, name: str = "laptop") -> NewApiKey:
    with deployment.database.transaction() as session:
        return api_keys.create(session, LOCAL_CALLER, name=name, now=NOON)


def authenticate(deployment: Deployment, secret: str, now: datetime = NOON) -> Caller:
    with deployment.database.transaction() as session:
        return api_keys.authenticate(session, secret, now=now)


def test_a_new_key_opens(deployment: Deployment) -> None:
    key, other = create(deployment), create(deployment, "server")
    assert key.secret.startswith("stdo_")
    assert len(key.secret) >= 48
    for each in (key, other):
        assert authenticate(deployment, each.secret) == Caller(tenant=DEFAULT_TENANT, api_key_id=each.id)


def test_the_key_itself_is_not_kept(deployment: Deployment) -> None:
    key = create(deployment)
    with deployment.database.engine.connect() as connection:
        (row,) = connection.execute(text("SELECT * FROM api_keys")).all()
    assert key.secret not in str(row)
    assert key.secret.removeprefix("stdo_") not in str(row)
    assert key.secret not in repr(key)


@pytest.mark.parametrize("secret", ["", "stdo_", "stdo_wrong", "Bearer", "ü"])
def test_anything_else_does_not(deployment: Deployment, secret: str) -> None:
    create(deployment)
    with pytest.raises(InvalidApiKeyError):
        authenticate(deployment, secret)


def test_the_stored_hash_does_not(deployment: Deployment) -> None:
    create(deployment)
    with deployment.database.snapshot() as session:
        (row,) = api_keys.list_all(session, LOCAL_CALLER)
    with pytest.raises(InvalidApiKeyError):
        authenticate(deployment, row.secret_sha256)


def test_a_revoked_key_does_not(deployment: Deployment) -> None:
    key, other = create(deployment), create(deployment, "server")
    for seconds in (1, 2):
        with deployment.database.transaction() as session:
            api_keys.revoke(session, LOCAL_CALLER, key.id, now=after(seconds))
    with pytest.raises(InvalidApiKeyError):
        authenticate(deployment, key.secret)
    assert authenticate(deployment, other.secret)
    with deployment.database.snapshot() as session:
        revoked = {row.name: row.revoked_at for row in api_keys.list_all(session, LOCAL_CALLER)}
    assert revoked == {"laptop": after(1), "server": None}


def test_revoking_no_key(deployment: Deployment) -> None:
    with pytest.raises(ApiKeyNotFoundError), deployment.database.transaction() as session:
        api_keys.revoke(session, LOCAL_CALLER, "0" * 32, now=NOON)


def test_use_is_noted_once_a_minute(deployment: Deployment) -> None:
    key = create(deployment)
    used = []
    for seconds in (0, 59, 60, 100):
        authenticate(deployment, key.secret, after(seconds))
        with deployment.database.snapshot() as session:
            used += [row.last_used_at for row in api_keys.list_all(session, LOCAL_CALLER)]
    assert used == [after(0), after(0), after(60), after(60)]


def test_another_tenants_key_is_no_key(deployment: Deployment) -> None:
    stranger = Caller(tenant="stranger", api_key_id=None)
    key = create(deployment)
    with pytest.raises(ApiKeyNotFoundError), deployment.database.transaction() as session:
        api_keys.revoke(session, stranger, key.id, now=NOON)
    with deployment.database.transaction() as session:
        assert api_keys.list_all(session, stranger) == []
        theirs = api_keys.create(session, stranger, name="theirs", now=NOON)
    assert authenticate(deployment, theirs.secret) == Caller(tenant="stranger", api_key_id=theirs.id)
    assert authenticate(deployment, key.secret).tenant == DEFAULT_TENANT
