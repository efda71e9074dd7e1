from __future__ import annotations

import pytest
from app.http.preconditions import (
    ByteRange,
    RangeNotSatisfiableError,
    entity_tag,
    is_not_modified,
    requested_range,
)
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

TAG = '"abc"'


def range_of(value: str, byte_count: int = 500) -> ByteRange | None:
    return requested_range(Headers({"range": value}), TAG, byte_count)


class TestRequestedRange:
    @pytest.mark.parametrize(
        ("value", "first", "last"),
        [
            ("bytes=0-0", 0, 0),
            ("bytes=490-100000000000000000000000", 490, 499),
            ("bytes=-10", 490, 499),
            ("bytes=-100000", 0, 499),
            ("Bytes= 1-2 ", 1, 2),
            ("bytes=499-", 499, 499),
        ],
    )
    def test_one_range(self, value: str, first: int, last: int) -> None:
        assert range_of(value) == ByteRange(first=first, last=last)

    @pytest.mark.parametrize("value", ["bytes=500-", "bytes=1000-2000", "bytes=-0", "bytes=99999999999999999999999-"])
    def test_outside(self, value: str) -> None:
        with pytest.raises(RangeNotSatisfiableError):
            range_of(value)

    @pytest.mark.parametrize("value", ["bytes=0-", "bytes=-1", "bytes=0-0"])
    def test_of_an_empty_file(self, value: str) -> None:
        with pytest.raises(RangeNotSatisfiableError):
            range_of(value, byte_count=0)

    @pytest.mark.parametrize(
        "value",
        ["", "bytes=5-2", "bytes=0-1,5-6", "bytes=-", "bytes", "lines=1-2", "bytes=1.5-2", "bytes=\xb2-\xb3"],
    )
    def test_what_is_no_single_range(self, value: str) -> None:
        assert range_of(value) is None

    @given(first=st.integers(0, 2000), length=st.integers(1, 2000), byte_count=st.integers(1, 1000))
    def test_is_what_slicing_gives(self, first: int, length: int, byte_count: int) -> None:
        content = bytes(index % 251 for index in range(byte_count))
        expected = content[first : first + length]
        value = f"bytes={first}-{first + length - 1}"
        if not expected:
            with pytest.raises(RangeNotSatisfiableError):
                range_of(value, byte_count)
            return
        found = range_of(value, byte_count)
        assert found is not None
        assert content[found.first : found.last + 1] == expected
        assert found.byte_count == len(expected)

    @pytest.mark.parametrize(("if_range", "applies"), [(TAG, True), ('"other"', False), (f"W/{TAG}", False)])
    def test_if_range(self, if_range: str, applies: bool) -> None:
        headers = Headers({"range": "bytes=0-9", "if-range": if_range})
        assert (requested_range(headers, TAG, 500) is not None) == applies


class TestIsNotModified:
    @pytest.mark.parametrize("value", [TAG, f"W/{TAG}", f'"x", {TAG}', f'"x",W/{TAG} , "y"', "*", " * "])
    def test_the_caller_has_it(self, value: str) -> None:
        assert is_not_modified(Headers({"if-none-match": value}), TAG)

    @pytest.mark.parametrize("value", ["", '"x"', "abc", '"ab"', '"abc', '"*"'])
    def test_the_caller_has_something_else(self, value: str) -> None:
        assert not is_not_modified(Headers({"if-none-match": value}), TAG)

    def test_without_the_header(self) -> None:
        assert not is_not_modified(Headers({}), TAG)


def test_entity_tags_follow_the_content() -> None:
    assert entity_tag(b"a") == entity_tag(b"a") != entity_tag(b"b")
    assert entity_tag(b"a").strip('"').isalnum()
