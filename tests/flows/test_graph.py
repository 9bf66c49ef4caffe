from pathlib import Path

import pytest

from flows.graph import ancestors, list_changed, nodes
from openmedq.errors import ParamsError

LEARNING = ["train", "evaluate", "transfer", "report"]


def names(graph):
    return [node.name for node in graph]


def test_nodes_are_those_of_dvc_in_topological_order(toy, monkeypatch):
    monkeypatch.chdir(toy.parent)  # the result must not depend on the current folder
    graph = nodes(toy)
    assert len(graph) == 3 * 3 + 8
    assert graph[0].name == "miniature@apple" and graph[-1].name == "report"
    by_name = {node.name: node for node in graph}
    assert by_name["normalize@plum"].upstream == ("download@plum",)
    assert by_name["normalize@plum"].stage == "normalize"
    assert set(by_name["manifest"].upstream) == {"miniature@apple", "miniature@cherry", "miniature@plum"}
    seen: set[str] = set()
    for node in graph:
        assert seen.issuperset(node.upstream), node
        seen.add(node.name)


def test_a_local_data_folder_needs_no_miniature(toy):
    (toy / "mirror").mkdir()
    (toy / "params.yaml").write_text("download: {mirror: mirror}\n")
    wanted = ancestors(nodes(toy), ["validate"])
    assert not [node for node in wanted if node.stage == "miniature"]
    assert names(wanted)[0] == "manifest"


def test_ancestors_of_targets(toy):
    graph = nodes(toy)
    assert names(ancestors(graph, ["normalize@apple"]))[-3:] == ["manifest", "download@apple", "normalize@apple"]
    assert len(ancestors(graph, ["normalize"])) == 3 + 1 + 3 + 3
    assert not {node.name for node in ancestors(graph, ["validate"])}.intersection(LEARNING)


def test_an_unknown_target_is_one_line(toy):
    with pytest.raises(ParamsError, match=r"^trian: not a node or stage of dvc.yaml; the stages are miniature, .*$"):
        ancestors(nodes(toy), ["trian"])


def test_a_broken_dvc_yaml_is_one_line(toy):
    (toy / "dvc.yaml").write_text("stages: [\n")
    with pytest.raises(ParamsError) as raised:
        nodes(toy)
    assert "\n" not in str(raised.value)


def test_changed_nodes_are_those_that_dvc_would_run(toy, dvc):
    assert dvc("repro", "manifest").returncode == 0
    assert list_changed(toy, ["manifest", "download@plum"]) == ["download@plum"]
    Path(toy, "data/miniature/plum/plum.csv").write_text("2\n")
    assert list_changed(toy, ["manifest"]) == ["manifest"]
    assert list_changed(toy, []) == []
