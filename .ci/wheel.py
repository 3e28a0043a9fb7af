"""The wheel holds every module and data file of the package, and nothing else but its metadata."""

import sys
import zipfile
from pathlib import Path

names = {name for name in zipfile.ZipFile(sys.argv[1]).namelist() if name.startswith("equipoise/")}
source = Path("src")
expected = {p.relative_to(source).as_posix() for p in source.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
if names != expected:
    sys.exit(f"missing from the wheel: {sorted(expected - names)}; unexpected in it: {sorted(names - expected)}")
print(f"{len(names)} files in the wheel")
