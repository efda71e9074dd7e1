from __future__ import annotations

import errno
import socket
from pathlib import Path
from typing import Any

import av
import ffmpeg
import psutil
import pytest

from workers.errors import FFmpegFailedError, FFmpegTimedOutError
from workers.ffmpeg.child_process import ChildLimits
from workers.ffmpeg.program import (
    FFmpeg,
    FFmpegKilledError,
    FFmpegMissingError,
    VideoFilter,
    apply_filters,
    demuxer_options,
    file_url,
)

FRAME_BYTES = 96 * 80 * 3 // 2


def test_the_bundled_program_says_what_it_is() -> None:
    program = FFmpeg()
    assert int(program.version().lstrip("n").split(".")[0]) >= 8
    assert program.has_filter("zscale")
    assert not program.has_filter("no_such_filter")


def test_frames_are_counted_while_it_runs(tmp_path: Path) -> None:
    counts: list[int] = []
    FFmpeg().run(ffmpeg.output(_test_picture(frames=200), file_url(tmp_path / "out.mkv"), vcodec="ffv1"), counts.append)
    assert counts[-1] == 200
    assert counts == sorted(set(counts))


def test_what_it_writes_comes_in_blocks() -> None:
    blocks = list(FFmpeg().read_blocks(_raw_pipe(frames=3), FRAME_BYTES))
    assert [len(block) for block in blocks] == [FRAME_BYTES] * 3
    assert blocks[0] != blocks[2]


def test_a_block_cut_short_is_an_error() -> None:
    with pytest.raises(FFmpegFailedError, match="middle of a frame"):
        list(FFmpeg().read_blocks(_raw_pipe(frames=3), FRAME_BYTES - 1))


def test_leaving_the_blocks_early_ends_it() -> None:
    before = psutil.Process().children()  # The servers of other tests, if any.
    blocks = FFmpeg().read_blocks(_raw_pipe(frames=100_000), FRAME_BYTES)
    next(blocks)
    running = [child for child in psutil.Process().children() if child not in before]
    blocks.close()
    assert len(running) == 1
    assert not running[0].is_running()


def test_a_failure_carries_the_reason_and_no_folder_of_this_machine(tmp_path: Path) -> None:
    missing = tmp_path / "missing.mp4"
    with pytest.raises(FFmpegFailedError, match=r"missing\.mp4.*No such file") as caught:
        FFmpeg().run(ffmpeg.output(ffmpeg.input(file_url(missing)), "-", format="null"), lambda _: None)
    assert str(tmp_path) not in caught.value.detail
    assert caught.value.as_failure().type == "ffmpeg_failed"


def test_it_is_stopped_when_it_takes_too_long() -> None:
    endless = ffmpeg.output(ffmpeg.input("anullsrc", format="lavfi", re=None), "-", format="null")
    before = psutil.Process().children()
    with pytest.raises(FFmpegTimedOutError):
        FFmpeg(limits=ChildLimits(stall_seconds=1)).run(endless, lambda _: None)
    assert psutil.Process().children() == before


def test_it_is_stopped_when_it_computes_too_much() -> None:
    endless = ffmpeg.output(_test_picture(size="1280x720"), "-", format="null")
    with pytest.raises(FFmpegTimedOutError, match="1 s of processor time"):
        FFmpeg(limits=ChildLimits(cpu_seconds=1)).run(endless, lambda _: None)


def test_it_gets_no_more_memory_than_allowed() -> None:
    large = ffmpeg.output(_test_picture(size="8192x8192", frames=10), "-", format="null")
    with pytest.raises(FFmpegFailedError):
        FFmpeg(limits=ChildLimits(address_space_bytes=160 * 2**20)).run(large, lambda _: None)


def test_it_writes_no_larger_file_than_allowed(tmp_path: Path) -> None:
    large = ffmpeg.output(_test_picture(frames=1000), file_url(tmp_path / "out.avi"), vcodec="rawvideo")
    with pytest.raises(FFmpegFailedError, match="SIGXFSZ"):
        FFmpeg(limits=ChildLimits(file_bytes=2**20)).run(large, lambda _: None)


@pytest.mark.parametrize(
    ("script", "error"), [("kill -9 $$", FFmpegKilledError), ("echo No space left on device >&2; exit 1", OSError)]
)
def test_trouble_of_the_machine_is_not_blamed_on_the_video(tmp_path: Path, script: str, error: type[Exception]) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    with pytest.raises(error) as caught:
        FFmpeg(executable=program).run(ffmpeg.output(_test_picture(), "-", format="null"), lambda _: None)
    if isinstance(caught.value, OSError):
        assert caught.value.errno == errno.ENOSPC


def test_a_program_killed_in_the_middle_of_a_frame_is_not_blamed_on_the_video(tmp_path: Path) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\nprintf half\nkill -9 $$\n")
    program.chmod(0o755)
    with pytest.raises(FFmpegKilledError):
        list(FFmpeg(executable=program).read_blocks(_raw_pipe(frames=1), FRAME_BYTES))


def test_a_missing_program_is_not_blamed_on_the_video(tmp_path: Path) -> None:
    program = FFmpeg(executable=tmp_path / "ffmpeg")
    with pytest.raises(FFmpegMissingError, match="ffmpeg_path"):
        program.version()
    with pytest.raises(FFmpegMissingError, match="ffmpeg_path"):
        list(program.read_blocks(_raw_pipe(frames=1), FRAME_BYTES))


def test_filters_apply_in_order_whatever_characters_their_options_have() -> None:
    picture = apply_filters(
        _test_picture(frames=4),
        [
            VideoFilter(name="select", options={"expr": "eq(n,1)+eq(n,3)"}),
            VideoFilter(name="scale", options={"w": "48", "h": "40"}),
        ],
    )
    pipe = ffmpeg.output(picture, "pipe:1", format="rawvideo", pix_fmt="yuv420p", fps_mode="passthrough")
    assert len(list(FFmpeg().read_blocks(pipe, FRAME_BYTES // 4))) == 2


PLAY_LISTS = {
    "hls, absolute": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{folder}/secret.ts\n#EXT-X-ENDLIST\n",
    "hls, relative": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.ts\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile secret.ts\n",
}


@pytest.mark.parametrize("name", ["list.mp4", "list.m3u8", "list.txt"])
@pytest.mark.parametrize("kind", list(PLAY_LISTS))
def test_no_play_list_opens_another_file(tmp_path: Path, name: str, kind: str) -> None:
    play_list = _play_list(tmp_path, name, PLAY_LISTS[kind])
    with pytest.raises(FFmpegFailedError):
        FFmpeg().run(_null(ffmpeg.input(file_url(play_list), **demuxer_options())), lambda _: None)
    with pytest.raises(av.FFmpegError):
        av.open(file_url(play_list), options=demuxer_options())


@pytest.mark.parametrize(("name", "kind"), [("list.m3u8", "hls, relative"), ("list.txt", "concat")])
def test_without_the_white_lists_it_would(tmp_path: Path, name: str, kind: str) -> None:
    counts: list[int] = []
    FFmpeg().run(_null(ffmpeg.input(file_url(_play_list(tmp_path, name, PLAY_LISTS[kind])))), counts.append)
    assert counts[-1] == 5


def test_no_play_list_reaches_the_network(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/inside.ts"
        play_list = _play_list(tmp_path, "list.m3u8", PLAY_LISTS["hls, relative"].replace("secret.ts", url))
        with pytest.raises(FFmpegFailedError):
            FFmpeg().run(_null(ffmpeg.input(file_url(play_list), **demuxer_options())), lambda _: None)
        with pytest.raises(FFmpegFailedError):
            FFmpeg().run(_null(ffmpeg.input(url, **demuxer_options())), lambda _: None)
        with pytest.raises(TimeoutError):
            server.accept()


def _play_list(folder: Path, name: str, text: str) -> Path:
    secret = ffmpeg.output(_test_picture(frames=5), file_url(folder / "secret.ts"), vcodec="mpeg2video")
    FFmpeg().run(secret, lambda _: None)
    path = folder / name
    path.write_text(text.format(folder=folder))
    return path


def _null(stream: Any) -> Any:
    return ffmpeg.output(stream, "-", format="null")


def _test_picture(*, size: str = "96x80", frames: int | None = None) -> Any:
    source = ffmpeg.input(f"testsrc2=size={size}", format="lavfi")
    return source if frames is None else source.filter("trim", end_frame=frames)


def _raw_pipe(*, frames: int) -> Any:
    return ffmpeg.output(_test_picture(frames=frames), "pipe:1", format="rawvideo", pix_fmt="yuv420p")
