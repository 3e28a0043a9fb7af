"""Checkpoints: a save is all or nothing, and what is loaded is what was saved, bit for bit.

A checkpoint is a folder of safetensors and JSON files beside a manifest with the SHA-256 of each. It is written under
a temporary name, synced, and renamed; older ones are removed only afterwards. No pickle is written or read.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from equipoise.core.disk import disk_errors, remove_folder, sync_folder, write_file
from equipoise.core.errors import CheckpointError

SCHEMA = 2
NAME = re.compile(r"step-(\d{9})")


@dataclass(frozen=True)
class Snapshot:
    """The content of one checkpoint: groups of named tensors, and a small JSON state."""

    tensors: Mapping[str, Mapping[str, Tensor]]
    state: Mapping[str, Any]


class Checkpoints:
    """The checkpoints of one run, in one folder; the newest `keep` stay.

    `identity` is written into each manifest and says what the checkpoint belongs to. `notice` is told, as (kind,
    message), of every checkpoint that had to be passed over.
    """

    def __init__(
        self,
        folder: Path,
        *,
        keep: int = 3,
        identity: Mapping[str, Any] | None = None,
        notice: Callable[[str, str], None] = lambda kind, message: None,
    ):
        self.folder, self.keep, self.identity, self.notice = folder, keep, dict(identity or {}), notice

    def save(self, step: int, snapshot: Snapshot) -> Path:
        """Write one checkpoint and retire old ones. Raises `DiskError`; what was saved before stays."""
        files = {
            f"{group}.safetensors": safetensors.torch.save({k: stored(v) for k, v in part.items()})
            for group, part in snapshot.tensors.items()
        }
        files["state.json"] = json.dumps(snapshot.state, allow_nan=False, indent=1).encode()
        manifest = {
            "schema": SCHEMA,
            "step": step,
            "identity": self.identity,
            "files": {
                name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
                for name, content in files.items()
            },
        }
        manifest["seal"] = seal(manifest)
        num_bytes = sum(map(len, files.values()))
        final = self.path(step)
        if self.sound(step):
            return final  # exact resume: the same step holds the same state
        temporary = self.folder / f".saving-{step:09d}-{os.getpid()}"
        with disk_errors("saving a checkpoint", self.folder, num_bytes=num_bytes):
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                self.sweep()
                os.mkdir(temporary)
                for name, content in files.items():
                    write_file(temporary / name, content)
                write_file(temporary / "manifest.json", json.dumps(manifest, indent=1).encode())
                sync_folder(temporary)
                if final.exists():
                    remove_folder(final)  # only a damaged one is ever in the way, see above
                os.replace(temporary, final)
                sync_folder(self.folder)
                for old in [s for s in self.steps() if s <= step][: -self.keep]:
                    remove_folder(self.path(old))
            except OSError:
                discard(temporary)
                raise
        return final

    def sweep(self) -> None:
        """Remove what an interrupted save or removal left behind."""
        for leftover in [*self.folder.glob(".saving-*"), *self.folder.glob(".removed-*")]:
            discard(leftover)

    def forget_from(self, step: int) -> None:
        """Remove the checkpoints of this step and of later ones, the newest first."""
        with disk_errors("removing checkpoints", self.folder):
            for late in sorted((s for s in self.steps() if s >= step), reverse=True):
                remove_folder(self.path(late))

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, ascending; whether they are sound is not looked at."""
        if not self.folder.is_dir():
            return []
        return sorted(int(m[1]) for path in self.folder.iterdir() if (m := NAME.fullmatch(path.name)))

    def path(self, step: int) -> Path:
        """The folder of the checkpoint of a step."""
        return self.folder / f"step-{step:09d}"

    def sound(self, step: int) -> bool:
        """Whether there is a checkpoint of this step with every byte as it was written."""
        try:
            self.load(step)
        except CheckpointError:
            return False
        return True

    def newest(self) -> Snapshot | None:
        """The newest checkpoint whose every byte is as it was written; None where nothing was ever saved.

        Damaged ones are passed over and noticed. Raises `CheckpointError` if there are some but none is sound.
        """
        complaints = []
        for step in reversed(self.steps()):
            try:
                snapshot = self.load(step)
            except CheckpointError as error:
                complaints.append(str(error))
                self.notice("fallback", f"{error} It is passed over for an older one.")
            else:
                return snapshot
        if complaints:
            raise CheckpointError("None of the checkpoints can be trusted. " + " ".join(complaints))
        return None

    def load(self, step: int) -> Snapshot:
        """One checkpoint, verified. Raises `CheckpointError` if a file is missing, shortened or changed."""
        path = self.path(step)
        manifest = self.manifest(step)
        tensors, state = {}, {}
        if "state.json" not in manifest["files"]:
            raise CheckpointError(f"Checkpoint {path} is damaged: its manifest names no state.json.")
        for name, expected in manifest["files"].items():
            if "/" in name or "\\" in name or name.startswith("."):
                raise CheckpointError(f"Checkpoint {path} names the file {name!r}, which is outside of it.")
            try:
                content = (path / name).read_bytes()
            except (OSError, ValueError) as error:  # ValueError: no name that a file could have
                raise CheckpointError(f"Checkpoint {path} cannot be read: {name!r}: {error}.") from error
            if len(content) != expected["bytes"]:
                raise CheckpointError(
                    f"Checkpoint {path} is damaged: {name} has {len(content)} bytes, {expected['bytes']} were written."
                )
            if hashlib.sha256(content).hexdigest() != expected["sha256"]:
                raise CheckpointError(f"Checkpoint {path} is damaged: {name} has changed since it was saved.")
            try:
                if name.endswith(".safetensors"):
                    tensors[name.removesuffix(".safetensors")] = safetensors.torch.load(content)
                else:
                    state = dict(json.loads(content))
            except (ValueError, TypeError, KeyError, RecursionError, SafetensorError) as error:
                raise CheckpointError(f"Checkpoint {path} is damaged: {name} cannot be understood: {error}.") from error
        return Snapshot(tensors, state)

    def manifest(self, step: int) -> dict[str, Any]:
        """The manifest of one checkpoint. Raises `CheckpointError` if it is missing, damaged or of another schema."""
        path = self.path(step)
        try:
            manifest = json.loads((path / "manifest.json").read_bytes())
            schema = manifest["schema"]
            files = manifest["files"].items() if schema == SCHEMA else ()
            files = {name: {"bytes": int(file["bytes"]), "sha256": str(file["sha256"])} for name, file in files}
        except OSError as error:
            raise CheckpointError(f"Checkpoint {path} has no readable manifest: {error.strerror}.") from error
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise CheckpointError(f"Checkpoint {path} is damaged: its manifest cannot be understood.") from error
        if schema != SCHEMA:
            raise CheckpointError(
                f"Checkpoint {path} has format {schema!r}; this version reads format {SCHEMA}. "
                "Use the version that wrote it."
            )
        if manifest.pop("seal", None) != seal(manifest):
            raise CheckpointError(f"Checkpoint {path} is damaged: its manifest has changed since it was saved.")
        return {**manifest, "files": files}


def seal(manifest: Mapping[str, Any]) -> str:
    """The SHA-256 of a manifest's content, for a manifest that vouches for itself too."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def stored(tensor: Tensor) -> Tensor:
    """A copy as safetensors keeps it: on the CPU, contiguous, sharing memory with no other (as tied weights do)."""
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def discard(folder: Path) -> None:
    """Remove a flat folder that carries no valid name."""
    if folder.is_dir():
        for path in folder.iterdir():
            os.unlink(path)
        os.rmdir(folder)
