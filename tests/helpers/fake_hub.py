"""A Hugging Face hub on 127.0.0.1: repositories, redirects to another address, hashes as ETags, ranges. No Xet."""

import hashlib
import re
import sys
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from threading import Thread

LARGE = (".safetensors", ".bin", ".keras", ".h5")  # kept apart from the repository, under their SHA-256


def commit_of(files):
    return hashlib.sha1(repr(sorted((name, etag_of(name, files[name])) for name in files)).encode()).hexdigest()


def etag_of(name, content):
    if name.endswith(LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class FakeHub:
    """Files by repository and revision, and what was asked for."""

    def __init__(self, endpoint):
        self.endpoint = endpoint
        self.commits = {}  # repository -> commit -> {name: content}
        self.branches = {}  # repository -> branch -> commit
        self.requests = []  # (method, path, range)
        self.cut_after = []  # bytes after which the next downloads break off
        self.spoiled = set()  # names whose content is not what the hash says

    def add(self, repository, files, branch="main"):
        """A commit with these files and those that the branch has; returns it."""
        branches, commits = self.branches.setdefault(repository, {}), self.commits.setdefault(repository, {})
        files = {**commits.get(branches.get(branch), {}), **files}
        branches[branch] = commit_of(files)
        commits[branches[branch]] = files
        return branches[branch]

    def commit(self, repository, revision):
        return self.branches[repository].get(revision, revision)

    def downloads(self, ending=""):
        return [path for method, path, _ in self.requests if method == "GET" and path.endswith(ending)]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    @property
    def hub(self):
        return self.server.hub

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        self.hub.requests.append((self.command, self.path, self.headers.get("Range")))
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path):
            self.resolve(*match.groups())
        elif match := re.fullmatch(r"/cdn/([^/]+/[^/]+)/([^/]+)/(.+)", self.path):
            self.content(*match.groups())
        else:
            self.fail("RepoNotFound")

    def resolve(self, repository, revision, name):
        """Large files are elsewhere: a redirect says where, and what is there."""
        if repository not in self.hub.commits:
            return self.fail("RepoNotFound")
        commit = self.hub.commit(repository, revision)
        if commit not in self.hub.commits[repository]:
            return self.fail("RevisionNotFound")
        files = self.hub.commits[repository][commit]
        if name not in files:
            return self.fail("EntryNotFound", {"X-Repo-Commit": commit})
        if not name.endswith(LARGE):
            return self.content(repository, commit, name)
        etag = etag_of(name, files[name])
        return self.send(
            302,
            {
                "Location": f"{self.hub.endpoint}/cdn/{repository}/{commit}/{name}",
                "X-Repo-Commit": commit,
                "X-Linked-Etag": f'"{etag}"',
                "X-Linked-Size": str(len(files[name])),
                "ETag": f'"{etag[:32]}"',
            },
        )

    def content(self, repository, commit, name):
        whole = self.hub.commits[repository][commit][name]
        etag = etag_of(name, whole)
        if name in self.hub.spoiled:
            whole = whole[:-1] + b"!"
        start = int(re.fullmatch(r"bytes=(\d+)-.*", self.headers.get("Range", "bytes=0-"))[1])
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": commit}
        headers |= {"Accept-Ranges": "bytes"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(whole) - 1}/{len(whole)}"
        return self.send(206 if start else 200, headers, whole[start:])

    def fail(self, code, headers=None):
        self.send(404, {"X-Error-Code": code, "X-Error-Message": code, **(headers or {})}, b"")

    def send(self, status, headers, content=b""):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        cut = self.hub.cut_after.pop(0) if self.hub.cut_after and self.path.startswith("/cdn/") else None
        self.wfile.write(content[:cut])
        if cut is not None:
            self.close_connection = True


def set_constants(monkeypatch, **values):
    """Of the hub's library, wherever one of its versions keeps a copy of them."""
    import_module("huggingface_hub.file_download")
    modules = [module for name, module in list(sys.modules.items()) if name.startswith("huggingface_hub")]
    for name, value in values.items():
        for module in modules:
            if name in vars(module):
                monkeypatch.setattr(module, name, value)


def set_endpoint(monkeypatch, endpoint):
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    set_constants(monkeypatch, ENDPOINT=endpoint, HUGGINGFACE_CO_URL_TEMPLATE=template)


@contextmanager
def fake_hub():
    """The hub, while it runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.hub = FakeHub(f"http://127.0.0.1:{server.server_port}")
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server.hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
