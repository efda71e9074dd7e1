from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.http.problems import ProblemError
from app.uploads.multipart_form import MAX_FIELD_BYTES, VideoForm, boundary_of, plain_file_name

BOUNDARY = b"frontier"


def form_of(file: bytes, fields: dict[str, bytes]) -> bytes:
    parts = [(name, b"", value) for name, value in fields.items()]
    parts.insert(len(parts) // 2, ("file", b'; filename="a.mp4"', file))
    lines = b""
    for name, extra, value in parts:
        disposition = b'Content-Disposition: form-data; name="' + name.encode() + b'"' + extra
        lines += b"--" + BOUNDARY + b"\r\n" + disposition + b"\r\n\r\n" + value + b"\r\n"
    return lines + b"--" + BOUNDARY + b"--\r\n"


class TestVideoForm:
    @given(
        file=st.binary(max_size=200) | st.lists(st.sampled_from([b"\r\n--", BOUNDARY, b"--", b"x"])).map(b"".join),
        preset=st.text(max_size=20),
        cuts=st.lists(st.integers(0, 400), max_size=10),
    )
    def test_pieces_of_any_size_give_the_same(self, file: bytes, preset: str, cuts: list[int]) -> None:
        if b"\r\n--" + BOUNDARY in b"\r\n" + file:
            return  # A file that has the boundary in it can't be sent with this boundary.
        body = form_of(file, {"preset": preset.encode(), "settings": b"{}"})
        received = bytearray()
        form = VideoForm(BOUNDARY, field_names=("preset", "settings"), write=received.extend)
        edges = sorted({0, len(body), *(min(cut, len(body)) for cut in cuts)})
        for start, end in pairwise(edges):
            form.feed(body[start:end])
        assert form.finish() == {"preset": preset, "settings": "{}"}
        assert bytes(received) == file
        assert form.file_name == "a.mp4"

    @given(body=st.binary(max_size=300) | st.binary(max_size=100).map(lambda tail: form_of(b"x", {})[:-5] + tail))
    def test_any_other_body_is_a_problem(self, body: bytes) -> None:
        form = VideoForm(BOUNDARY, field_names=(), write=lambda _: None)
        is_whole = body.startswith(form_of(b"x", {})[:-2])
        with nullcontext() if is_whole else pytest.raises(ProblemError):
            form.feed(body)
            form.finish()

    def test_limits(self) -> None:
        form = VideoForm(BOUNDARY, field_names=("settings",), write=lambda _: None)
        with pytest.raises(ProblemError, match="at most 65536 bytes"):
            form.feed(form_of(b"x", {"settings": b" " * (MAX_FIELD_BYTES + 1)}))

    def test_the_fields_before_the_file_are_checked_as_it_begins(self) -> None:
        checked: list[Mapping[str, str]] = []
        names = ("preset", "settings")
        form = VideoForm(BOUNDARY, field_names=names, write=lambda _: None, check=checked.append)
        body = form_of(b"x", {"preset": b"fast", "settings": b"{}"})
        form.feed(body[: body.index(b"a.mp4")])
        assert checked == []
        form.feed(body[body.index(b"a.mp4") :])
        assert checked == [{"preset": "fast"}]


class TestBoundaryOf:
    def test_quoted_or_not(self) -> None:
        assert boundary_of("multipart/form-data; boundary=abc") == b"abc"
        assert boundary_of('Multipart/Form-Data; charset=utf-8; boundary="a b"') == b"a b"

    @pytest.mark.parametrize("value", [None, "", "text/plain", "multipart/mixed; boundary=abc", ";;;=", "multipart/"])
    def test_other_kinds(self, value: str | None) -> None:
        with pytest.raises(ProblemError) as caught:
            boundary_of(value)
        assert caught.value.status_code == 415


@given(st.text())
def test_file_names_can_be_shown(name: str) -> None:
    plain = plain_file_name(name)
    assert 1 <= len(plain) <= 255
    assert plain.isprintable()
    assert "/" not in plain
    assert "\\" not in plain
