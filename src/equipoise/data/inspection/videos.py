"""One look at every video: whether all of its frames can be decoded."""

import hashlib
import importlib.util
import io
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import IO, NamedTuple

from equipoise.core.errors import DataError
from equipoise.data.inspection.checks import judged
from equipoise.data.inspection.contents import Contents
from equipoise.data.inspection.findings import Finding, found

MISSING = 0.1
"""Share of the promised frames that may be missing: containers count in different ways."""


class Video(NamedTuple):
    """What is known of one video file."""

    name: str
    num_bytes: int = 0
    digest: str = ""
    fault: str | None = None
    reason: str = ""
    frames: int = 0


def can_read() -> bool:
    """Whether PyAV is installed."""
    return importlib.util.find_spec("av") is not None


def look_at(contents: Contents, progress: Callable[[int], None]) -> list[Video]:
    """Decode every video once. `progress` is told how many are done."""
    videos = []
    for name in contents.videos:
        videos.append(_look(name, contents))
        progress(len(videos))
    return videos


def check(videos: Sequence[Video], contents: Contents) -> Iterator[Finding]:
    """Broken streams, and the same video several times."""
    same: dict[str, list[str]] = defaultdict(list)
    for video in videos:
        if video.fault is not None:
            evidence = {"bytes": video.num_bytes, "frames": video.frames, "reason": video.reason}
            text = video.reason[:1].upper() + video.reason[1:].rstrip(".") + "."
            yield found(video.fault, (video.name,), text, evidence=evidence)
        else:
            same[video.digest].append(video.name)
    for names in same.values():
        if len(names) > 1:
            yield from judged(names, contents, how="the same bytes", evidence={"copies": len(names)}, exact=True)


def _look(name: str, contents: Contents) -> Video:
    try:
        if contents.root is None:
            return _seen(io.BytesIO(contents.files.read(name)), name)
        # A plain file is read from where it lies: films may be larger than memory.
        with open(contents.root / name, "rb") as file:
            return _seen(file, name)
    except (DataError, OSError) as error:
        return Video(name, fault="unreadable", reason=str(error))


def _seen(file: io.BytesIO | io.BufferedReader, name: str) -> Video:
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    video = Video(name, file.seek(0, io.SEEK_END), digest)
    file.seek(0)
    return _decoded(file, video)


def _decoded(file: IO[bytes], video: Video) -> Video:
    import av  # pyright: ignore[reportMissingImports]
    from av.error import FFmpegError  # pyright: ignore[reportMissingImports]

    if not video.num_bytes:
        return video._replace(fault="empty-file", reason="it has 0 bytes")
    frames, promised = 0, 0
    try:
        with av.open(file, mode="r") as container:
            if not container.streams.video:
                return video._replace(fault="corrupt", reason="it holds no pictures")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            promised = stream.frames or _from_duration(stream)
            for frame in container.decode(stream):
                if frame.is_corrupt:
                    return video._replace(fault="corrupt", reason=f"frame {frames} is damaged", frames=frames)
                frames += 1
    except (FFmpegError, ValueError) as error:
        return video._replace(fault="corrupt", reason=f"after {frames} frames: {error}", frames=frames)
    if frames < (1 - MISSING) * promised - 1:
        return video._replace(
            fault="truncated", reason=f"it promises {promised} frames, {frames} can be decoded", frames=frames
        )
    return video._replace(frames=frames)


def _from_duration(stream) -> int:
    if stream.duration is None or stream.average_rate is None:
        return 0
    return int(stream.duration * stream.time_base * stream.average_rate)
