"""A hub on this machine's loopback, its data sets served from folders: as much of its interface as reading needs."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def hub(**sets: Path) -> Iterator[str]:
    """Its address. Each set is someone's; "someone/gated" is there, too, but its files are not for everybody."""
    names = "|".join(sets)

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = unquote(urlparse(self.path).path)
            if path == "/api/datasets/someone/gated":
                self.say({"id": "someone/gated", "sha": COMMIT, "gated": "manual"})
            elif "someone/gated" in path:
                self.answer(403, b"", {"X-Error-Code": "GatedRepo"})
            elif match := re.fullmatch(rf"/api/datasets/someone/({names})(?:/revision/(.+))?", path):
                root = sets[match[1]]
                if match[2] in (None, "v1", COMMIT):
                    files = [str(file.relative_to(root)) for file in sorted(root.rglob("*")) if file.is_file()]
                    siblings = [{"rfilename": file} for file in files]
                    self.say(
                        {
                            "id": f"someone/{match[1]}",
                            "sha": COMMIT,
                            "cardData": {"license": "cc0-1.0"},
                            "siblings": siblings,
                        }
                    )
                else:
                    self.answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
            elif match := re.fullmatch(rf"/api/datasets/someone/({names})/tree/{COMMIT}/?(.*)", path):
                base = sets[match[1]] / match[2]
                deep = "recursive=true" in self.path.lower()
                found = sorted(base.rglob("*") if deep else base.iterdir()) if base.is_dir() else []
                self.say([entry(file, sets[match[1]]) for file in found])
            elif match := re.fullmatch(rf"/datasets/someone/({names})/resolve/{COMMIT}/(.+)", path):
                self.give(sets[match[1]] / match[2])
            else:
                self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})

        do_HEAD = do_GET

        def do_POST(self) -> None:
            root = sets[self.path.split("/")[4]]
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            paths = json.loads(body)["paths"] if body.startswith("{") else re.findall(r"paths=([^&]+)", body)
            self.say([entry(root / unquote(path), root) for path in paths if (root / unquote(path)).exists()])

        def give(self, file: Path) -> None:
            if not file.is_file():
                return self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})
            data, headers = file.read_bytes(), {"ETag": f'"{file.name}"', "X-Repo-Commit": COMMIT}
            if self.command == "GET" and (span := re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))):
                begin, end = int(span[1]), min(int(span[2] or len(data)), len(data) - 1)
                headers["Content-Range"] = f"bytes {begin}-{end}/{len(data)}"
                return self.answer(206, data[begin : end + 1], headers)
            return self.answer(200, data, headers)

        def say(self, content: object) -> None:
            self.answer(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

        def answer(self, code: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(code)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    def entry(file: Path, root: Path) -> dict[str, object]:
        name, kind = str(file.relative_to(root)), "directory" if file.is_dir() else "file"
        size = 0 if file.is_dir() else file.stat().st_size
        return {"type": kind, "path": name, "size": size, "oid": hashlib.sha1(name.encode()).hexdigest()}

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
