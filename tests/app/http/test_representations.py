from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from app.http.representations import is_not_modified

TAG = '"abc"'


@pytest.mark.parametrize("value", [TAG, f"W/{TAG}", f'"x", {TAG}', f'"x",W/{TAG} , "y"', "*", " * "])
def test_the_caller_has_it(value: str) -> None:
    assert is_not_modified(Headers({"if-none-match": value}), TAG)


@pytest.mark.parametrize("value", ["", '"x"', "abc", '"ab"', '"abc', '"*"'])
def test_the_caller_has_something_else(value: str) -> None:
    assert not is_not_modified(Headers({"if-none-match": value}), TAG)


def test_without_the_header() -> None:
    assert not is_not_modified(Headers({}), TAG)
