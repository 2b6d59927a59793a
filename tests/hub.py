"""A hub on this machine that speaks as much of the hub's API as its client needs, and can be slow, broken or strict."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".bin", ".ckpt", ".pth")  # what the hub keeps apart and names by its sha256


@dataclass
class Repository:
    """Commits, the last of which is the main branch, and how the hub answers for it."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    error: tuple[int, str] | None = None  # status and X-Error-Code of each answer
    gated: bool = False  # everybody may see the list of files, nobody the files
    moved_to: str | None = None
    announced: dict[str, str] = field(default_factory=dict)  # file -> another sha256 than its own

    def add(self, files: dict[str, bytes]) -> str:
        """A commit of these files; returns its name."""
        commit = hashlib.sha1(repr(sorted(files.items())).encode() + bytes([len(self.commits)])).hexdigest()
        self.commits[commit] = files
        return commit

    def commit(self, revision: str) -> str | None:
        if revision == "main":
            return list(self.commits)[-1]
        return revision if revision in self.commits else None

    def sha256(self, commit: str, name: str) -> str:
        return self.announced.get(name) or hashlib.sha256(self.commits[commit][name]).hexdigest()

    def lfs(self, commit: str, name: str) -> dict[str, Any] | None:
        if not name.endswith(LARGE):
            return None
        digest, size = self.sha256(commit, name), len(self.commits[commit][name])
        return {"sha256": digest, "oid": digest, "size": size, "pointerSize": 134}


class Hub(ThreadingHTTPServer):
    """The server. ``asked`` lists (method, path, the Range header) of every request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, Repository] = {}
        self.asked: list[tuple[str, str, str | None]] = []
        self.sent = 0  # bytes of large files
        self.break_after: int | None = None  # bytes of a large file, after which the connection is cut
        self.breaks_left = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def files_asked(self) -> set[str]:
        """Names of the files whose content was asked for."""
        return {path.split("/resolve/")[1].partition("/")[2] for _, path, _ in self.asked if "/resolve/" in path}


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_arguments: Any) -> None:
        """Nothing on the terminal."""

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        self.server.asked.append((self.command, path, self.headers.get("Range")))
        parts = path.split("/")
        api = parts[:2] == ["api", "models"]
        owner, name, *rest = parts[2:] if api else parts
        repository = self.server.repositories.get(f"{owner}/{name}")
        if repository is None:
            return self.fail(401, "RepoNotFound")  # 401, not 404, for those who are not logged in
        if repository.error is not None:
            return self.fail(*repository.error)
        if repository.moved_to is not None:
            return self.send(307, b"", Location="/" + path.replace(f"{owner}/{name}", repository.moved_to))
        commit = repository.commit(rest[1] if len(rest) > 1 else "main")
        if commit is None:
            return self.fail(404, "RevisionNotFound")
        if api and rest[:1] == ["tree"]:
            return self.json([self.entry(repository, commit, file) for file in repository.commits[commit]])
        if api:
            files = [self.sibling(repository, commit, file) for file in repository.commits[commit]]
            return self.json({"id": f"{owner}/{name}", "sha": commit, "siblings": files})
        if repository.gated:
            return self.fail(403, "GatedRepo")
        return self.file(repository, commit, "/".join(rest[2:]))

    def entry(self, repository: Repository, commit: str, name: str) -> dict[str, Any]:
        content = repository.commits[commit][name]
        found = {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
        lfs = repository.lfs(commit, name)
        return found | ({"lfs": lfs} if lfs else {})

    def sibling(self, repository: Repository, commit: str, name: str) -> dict[str, Any]:
        entry = self.entry(repository, commit, name)
        return {"rfilename": name, "blobId": entry["oid"], "size": entry["size"], "lfs": entry.get("lfs")}

    def file(self, repository: Repository, commit: str, name: str) -> None:
        if name not in repository.commits[commit]:
            return self.fail(404, "EntryNotFound")
        content, large = repository.commits[commit][name], name.endswith(LARGE)
        etag = repository.sha256(commit, name) if large else hashlib.sha1(content).hexdigest()
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": commit, "X-Linked-Size": str(len(content))}
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return self.send(206 if start else 200, content[start:], large=large, **headers)

    def json(self, value: Any) -> None:
        self.send(200, json.dumps(value).encode(), **{"Content-Type": "application/json"})

    def fail(self, status: int, code: str) -> None:
        self.send(status, b"{}", **{"X-Error-Code": code, "Content-Type": "application/json"})

    def send(self, status: int, content: bytes, large: bool = False, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        hub = self.server
        if large and hub.breaks_left and hub.break_after is not None and len(content) > hub.break_after:
            hub.breaks_left -= 1
            content = content[: hub.break_after]
            self.close_connection = True  # fewer bytes than announced: the client sees a broken connection
        self.wfile.write(content)
        if large:
            hub.sent += len(content)


@contextmanager
def running(server: ThreadingHTTPServer) -> Iterator[None]:
    """The server answers for as long as the block runs."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    with server:
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A hub without repositories, for as long as the block runs."""
    hub = Hub()
    with running(hub):
        yield hub


def files_of(folder: Path) -> dict[str, bytes]:
    """Everything in a folder, by its name there."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }
