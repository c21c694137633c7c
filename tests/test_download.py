"""speech.download: a server that breaks off or lies, hostile archives, and archives made up."""
import hashlib
import http.server
import io
import json
import shutil
import stat
import threading
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_text import BLOBS, FUZZ, calm
from voice import tiny

from emodiff.base.core import digest, error_message
from emodiff.speech.corpora import read_corpus
from emodiff.speech.download import DownloadSource, _unpack, download


class Server(http.server.BaseHTTPRequestHandler):
    "Serves `files` by path, with ranges; breaks off after `breaks[path]` bytes, once each."
    files: dict[str, bytes] = {}
    breaks: dict[str, list[int]] = {}
    asked: list[tuple[str, str | None]] = []

    def do_GET(self):
        data = self.files.get(self.path)
        self.asked.append((self.path, self.headers.get("Range")))
        if data is None:
            return self.send_error(404)
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        if start >= len(data) and start:
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        stop = self.breaks.get(self.path, [])
        self.wfile.write(data[start:stop.pop(0)] if stop else data[start:])

    def log_message(self, *_):
        pass


@pytest.fixture
def at() -> Iterator[str]:
    "The address of the server."
    Server.files, Server.breaks, Server.asked = {}, {}, []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    "The bytes of a short clip."
    return tiny(tmp_path_factory.mktemp("clip") / "y.wav").read_bytes()


def zipped(members: dict[str, bytes], link: str = "") -> bytes:
    "A zip file; `link` names a member that is a symbolic link."
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = ((stat.S_IFLNK if name == link else stat.S_IFREG) | 0o644) << 16
            z.writestr(info, data)
    return out.getvalue()


@pytest.fixture(scope="module")
def good(clip: bytes) -> bytes:
    "RAVDESS as an archive of 24 actors."
    return zipped({f"Actor_{a:02d}/03-01-05-01-01-01-{a:02d}.wav": clip + bytes(10_000 * a)
                   for a in range(1, 25)})


def test_an_interrupted_download_continues_where_it_stopped(at, good, tmp_path, capsys):
    "Four connections break off; a second run asks only for what is missing."
    half = len(good) // 2
    Server.files = {"/r.zip": good}
    Server.breaks = {"/r.zip": [half, half + 100_000, half + 200_000, half + 300_000]}
    source = {"RAVDESS": DownloadSource(f"{at}/r.zip", f"sha256:{digest(good)}")}
    assert "it continues from there" in error_message(download, "RAVDESS", tmp_path, source)
    assert not (tmp_path / "RAVDESS").exists()
    folder = download("ravdess", tmp_path, source)
    starts = [int((asked or "bytes=0-")[6:-1]) for _, asked in Server.asked]
    assert len(starts) == 5 and starts[0] == 0 and half - 70_000 < starts[1] <= starts[4] > half
    assert (folder / "LICENCE.txt").read_text().startswith("RAVDESS (Livingstone & Russo 2018")
    assert "CC BY-NC-SA 4.0" in capsys.readouterr().out
    assert len(list(folder.rglob("*.wav"))) == 24 and not list(tmp_path.glob("*.zip"))
    Server.asked.clear()
    download("RAVDESS", tmp_path, source)
    assert not Server.asked  # it is there


def test_without_a_folder_the_corpus_goes_below_the_projects_data(at, good, home):
    "data/corpora of the project's home."
    Server.files = {"/r.zip": good}
    source = {"RAVDESS": DownloadSource(f"{at}/r.zip", f"sha256:{digest(good)}")}
    assert download("RAVDESS", sources=source) == home.resolve() / "data" / "corpora" / "RAVDESS"


def test_hostile_archives_write_nothing(at, clip, good, tmp_path):
    "Paths out of the folder, drives, links, a file as a folder, half a file, a wrong checksum."
    bad = tmp_path / "bad"
    Server.files = {
        "/up.zip": zipped({"a.wav": clip, "../out.wav": clip}),
        "/abs.zip": zipped({"/tmp/out.wav": clip}),
        "/win.zip": zipped({"..\\out.wav": clip}),
        "/drive.zip": zipped({"C:/out.wav": clip}),
        "/link.zip": zipped({"sub": b"..", "sub/out.wav": clip}, link="sub"),
        "/twice.zip": zipped({"a": clip, "a/b.wav": clip}),
        "/half.zip": good[:len(good) // 2], "/r.zip": good}
    for name in Server.files:
        source = {"EmoDB": DownloadSource(at + name, "md5:" + "0" * 32 if name == "/r.zip" else "")}
        assert error_message(download, "EmoDB", bad, source).endswith(".")
        assert not list(bad.iterdir()), name
    gone = {"EmoDB": DownloadSource(f"{at}/none", "")}
    assert "answers 404" in error_message(download, "EmoDB", bad, gone)
    assert not list(tmp_path.rglob("out.wav"))
    for closed in ("IEMOCAP", "URDU"):
        assert closed in error_message(download, closed, tmp_path)


def test_the_checksum_stands_in_the_record(at, clip, tmp_path):
    "EmoDB: in either of the shapes that Zenodo has given its records; a wrong record is refused."
    small, right = zipped({"wav/03a01Fa.wav": clip}), {"key": "emodb.zip"}
    right["checksum"] = "md5:" + hashlib.md5(small, usedforsecurity=False).hexdigest()
    newer = {"filename": "emodb.zip", "checksum": right["checksum"][4:]}
    source = {"EmoDB": DownloadSource(f"{at}/emodb.zip", record=f"{at}/record")}
    wrong = [b"<html>", b"[]", b'{"files": [{"key": 1}]}', json.dumps({"files": []}).encode(),
             json.dumps({"files": [right | {"checksum": "md5:" + "0" * 32}]}).encode()]
    Server.files = {"/emodb.zip": small}
    assert "cannot be read" in error_message(download, "EmoDB", tmp_path / "record", source)
    for answer in wrong:
        Server.files["/record"] = answer
        assert error_message(download, "EmoDB", tmp_path / "record", source).endswith(".")
        assert not (tmp_path / "record" / "EmoDB").exists()
    for n, entry in enumerate((right, newer)):
        Server.files["/record"] = json.dumps({"files": [entry]}).encode()
        folder = download("EmoDB", tmp_path / f"record{n}", source)
        assert (folder / "wav" / "03a01Fa.wav").exists()


def test_crema_d_comes_clip_by_clip(at, clip, tmp_path):
    "A clip that is not what its pointer says is refused; then only what is missing is fetched."
    names = ["1001_IEO_ANG_HI", "1002_DFA_SAD_XX", "1002_DFA_XYZ_XX"]
    point = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest(clip)}\nsize 1\n"
    Server.files = {"/p/processedResults/summaryTable.csv":
                    "\n".join(f'"1","{n}","A","60"' for n in ["FileName", *names]).encode(),
                    **{f"/p/AudioWAV/{n}.wav": point.encode() for n in names},
                    **{f"/m/AudioWAV/{n}.wav": clip for n in names[:1]},
                    f"/m/AudioWAV/{names[1]}.wav": clip[:-2]}
    source = {"CREMA-D": DownloadSource(f"{at}/m", pointers=f"{at}/p")}
    assert "known checksum" in error_message(download, "crema-d", tmp_path, source)
    Server.files[f"/m/AudioWAV/{names[1]}.wav"] = clip
    Server.asked.clear()
    folder = download("crema-d", tmp_path, source)
    assert [a for a, _ in Server.asked] == [f"/m/AudioWAV/{names[1]}.wav"], Server.asked
    assert sorted(p.stem for p in folder.rglob("*.wav")) == names[:2]  # no emotion of CREMA-D
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(read_corpus("CREMA-D", folder)) == 2


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Path:
    "A folder for the archives that hypothesis makes up."
    return tmp_path_factory.mktemp("fuzz")


@FUZZ
@given(members=st.dictionaries(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
                               st.binary(max_size=20), max_size=4), data=BLOBS)
def test_archives_of_any_names(arena, members, data):
    "An archive of any names, or any bytes, writes inside its folder or nothing."
    for content in (data, zipped(members), zipped(members)[:-7]):
        (arena / "any.zip").write_bytes(content)
        out = calm(_unpack, arena / "any.zip", arena / "unpacked")
        assert out is None or all(out in p.parents for p in out.rglob("*"))
        shutil.rmtree(arena / "unpacked", ignore_errors=True)
