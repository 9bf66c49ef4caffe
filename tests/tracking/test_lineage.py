import json
import os
from pathlib import Path

import pytest
import yaml

from openmedq.errors import TrackingError
from openmedq.tracking import lineage

pytestmark = pytest.mark.usefixtures("empty_folder")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/alice/mirror", "…/mirror"),
        ("~/mirror", "…/mirror"),
        ("../mirror", "…/mirror"),
        ("data/miniature", "data/miniature"),
        ("https://bob:secret@host/x", "https://host/x"),
        ("sqlite:///mlflow.db", "sqlite:///mlflow.db"),
        ("bf16", "bf16"),
    ],
)
def test_redact(text, shown):
    assert lineage.redact(text) == shown


def test_flatten_keeps_every_leaf_and_hides_paths_within_lists_and_keys():
    tree = {"a": ["/home/alice/x", "y"], "b": {"https://bob:pw@h/x": 1}, "c": {"d": {}, "e": None}, "f": "x" * 99}
    flat = {"a": '["…/x", "y"]', "b.https://h/x": "1", "c.d": "{}", "c.e": "null", "f": f"{'x' * 19}…"}
    assert lineage.flatten(tree, 20) == flat


def test_md5s_are_those_of_dvc(toy, dvc, monkeypatch):
    monkeypatch.chdir(toy)
    with Path("stage.py").open("a") as stage:
        stage.write(
            "Path(f'data/miniature/{dataset_id}/ä').mkdir()\nPath(f'data/miniature/{dataset_id}/ä/b.bin').touch()\n"
        )
    assert dvc("repro", "miniature@plum").returncode == 0
    written = yaml.safe_load(Path("dvc.lock").read_text())["stages"]["miniature@plum"]["outs"][0]["md5"]
    assert lineage.read_md5s() == {"data/miniature/plum": written}
    assert lineage.hash_folder(Path("data/miniature/plum")) == written


@pytest.mark.parametrize("text", ["", "stages: {a: [\n", "stages:\n", "stages:\n  mix:\n    outs:\n"])
def test_a_broken_lock_is_one_line(text, monkeypatch):
    monkeypatch.setattr(lineage.time, "sleep", lambda seconds: None)
    assert lineage.read_md5s() == {}
    Path("dvc.lock").write_text(text)
    with pytest.raises(TrackingError, match=r"^dvc.lock: not readable; restore it with `git checkout dvc.lock`$"):
        lineage.read_md5s()


def test_a_lock_that_is_being_rewritten_is_waited_for(monkeypatch):
    Path("dvc.lock").write_text("")
    whole = json.dumps({"stages": {"mix": {"outs": [{"path": "data/mix", "md5": "1.dir"}]}}})
    monkeypatch.setattr(lineage.time, "sleep", lambda seconds: Path("dvc.lock").write_text(whole))
    assert lineage.read_md5s() == {"data/mix": "1.dir"}


def test_git_says_commit_and_dirtiness_and_dvc_lock_does_not_count(toy, monkeypatch):
    assert lineage.read_git() == {} or "git.commit" in lineage.read_git()  # a folder above may be a repository
    monkeypatch.chdir(toy)
    monkeypatch.setenv("DVC_EXP_NAME", "wide-lark")
    Path("dvc.lock").write_text("{}")
    Path("data/model").mkdir()
    clean = lineage.read_git()
    assert clean["git.dirty"] == "false" and len(clean["git.commit"]) == 40 and clean["dvc.experiment"] == "wide-lark"
    Path("new.py").write_text("")
    assert lineage.read_git()["git.dirty"] == "true"
    monkeypatch.setenv("PATH", os.devnull)
    assert lineage.read_git() == {}
