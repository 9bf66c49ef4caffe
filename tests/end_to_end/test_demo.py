"""The demo's page: it answers as the evaluation did, shows open records alone, and listens on loopback."""

import io
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import PIL.Image
import psutil
import pyarrow.parquet as pq
import pytest
import streamlit as st
import yaml
from streamlit.testing.v1 import AppTest

from openmedq import demo, paths
from openmedq.evaluation.evaluate import PREDICTIONS

from .conftest import Project

pytestmark = pytest.mark.xdist_group("end_to_end")


@pytest.fixture
def page(project: Project, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.chdir(project.root)
    st.cache_data.clear()
    return _run(AppTest.from_file(str(demo.PAGE), default_timeout=60))


def _run(page: AppTest) -> AppTest:
    page.run()
    assert not page.exception, page.exception
    return page


def test_what_it_answers_is_what_was_evaluated(page: AppTest, project: Project) -> None:
    predictions = {row["id"]: row for row in pq.read_table(project.root / PREDICTIONS).to_pylist()}
    choice = page.selectbox[0]
    assert len(choice.options) > 10
    for label in choice.options[:3]:
        page.selectbox[0].select(label)
        _run(page)
        page.button[0].click()
        _run(page)
        row = predictions[label.split(": ", 1)[0]]
        said = _said(page)
        assert said["The model answers"] == (row["answer"] or "(nothing)")
        assert said["The record says"] == row["reference"]


def _said(page: AppTest) -> dict[str, str]:
    titles = [caption.value for caption in page.caption[1:]]
    return dict(zip(titles, [text.value for text in page.text[-len(titles) :]], strict=True))


def test_it_says_what_the_model_was_trained_on(page: AppTest) -> None:
    assert "14 sets. No answer is medical advice." in page.caption[0].value
    assert "14 of these sets are generated miniatures" in page.warning[0].value


def test_records_of_credentialed_sets_are_not_offered(
    page: AppTest, project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "vqa_rad" in _offered(page)
    catalogue = yaml.safe_load((project.root / paths.CATALOGUE).read_text(encoding="utf-8"))
    catalogue["datasets"]["vqa_rad"]["access"] = "credentialed"
    (tmp_path / "catalogue.yaml").write_text(yaml.safe_dump(catalogue), encoding="utf-8")
    monkeypatch.setattr(paths, "CATALOGUE", tmp_path / "catalogue.yaml")
    st.cache_data.clear()
    _run(page)
    assert "vqa_rad" not in _offered(page)


def _offered(page: AppTest) -> set[str]:
    return {label.split("/")[0] for label in page.selectbox[0].options}


def test_a_picture_of_ones_own(page: AppTest) -> None:
    page.radio[0].set_value("pictures of mine")
    _run(page)
    buffer = io.BytesIO()
    PIL.Image.new("L", (64, 64), 90).save(buffer, "PNG")
    page.file_uploader[0].upload("mine.png", buffer.getvalue(), "image/png")
    _run(page)
    page.text_area[0].input("What is it?")
    page.button[0].click()
    _run(page)
    assert _said(page).keys() == {"The model answers", "On a black picture"}
    page.file_uploader[0].upload("no.png", b"no picture", "image/png")
    _run(page)
    assert "no.png: image unreadable" in page.error[0].value


def test_nothing_asked_is_said_so(page: AppTest) -> None:
    page.radio[0].set_value("no picture")
    _run(page)
    page.button[0].click()
    _run(page)
    assert page.error[0].value == "Ask something, or choose a picture."


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_server_is_on_loopback_and_asks_nobody(project: Project, port: int, tmp_path: Path) -> None:
    before = project.attempts
    with (tmp_path / "demo.log").open("wb") as log:
        server = subprocess.Popen(
            ["python", "-m", "openmedq", "demo", "--port", str(port)],
            cwd=project.root,
            env=project.environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _await(f"http://127.0.0.1:{port}/_stcore/health")
        listening = [each.laddr for each in psutil.Process(server.pid).net_connections() if each.status == "LISTEN"]
        assert [tuple(address) for address in listening] == [("127.0.0.1", port)]
        server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0
    finally:
        server.kill()
    assert project.attempts == before
    assert "Traceback" not in (tmp_path / "demo.log").read_text(encoding="utf-8")


def test_without_a_model_it_is_one_line(project: Project, tmp_path: Path) -> None:
    said = Project(tmp_path, project.watch).run(
        "python", "-m", "openmedq", "demo", code=1, PYTHONPATH=str(project.root)
    )
    assert said == f"error: {paths.MODEL}: no model is there yet; `dvc repro train` trains one\n"


def _await(url: str) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            assert time.monotonic() < end, url
            time.sleep(0.2)
