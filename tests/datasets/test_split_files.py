import json

import pytest

from openmedq.schema import Rejected
from tests.datasets.conftest import SETS, FolderOf, samples

# By dataset: the files of a split, and the split.
ABSENT = {
    "cxr8": ("test_list.txt", "test"),
    "medfmc_chest": ("data_backup/MedFMC/chest/test_WithLabel.txt", "test_WithLabel"),
    "medfmc_colon": ("data_backup/MedFMC/colon/test_WithLabel.txt", "test_WithLabel"),
    "medfmc_endo": ("data_backup/MedFMC/endo/test_WithLabel.txt", "test_WithLabel"),
    "medmcqa": ("data/validation-*", "validation"),
    "pathvqa": ("data/validation-*", "validation"),
    "pmc_vqa": ("test*.csv", "test"),
    "pubmedqa": ("pqa_unlabeled/*", "unlabeled"),
    "roco": ("data/test/*/captions.txt", "test"),
    "slake": ("validation.json", "validation"),
    "vqa_med_2019": ("ImageClef-2019-VQA-Med-Validation.zip", "validation"),
}


@pytest.mark.parametrize("dataset_id", sorted(ABSENT))
def test_a_split_whose_file_is_absent_is_named(
    dataset_id: str, copy_of: FolderOf, caplog: pytest.LogCaptureFixture
) -> None:
    raw = copy_of(dataset_id)
    pattern, split = ABSENT[dataset_id]
    expected = f' is absent; the split "{split}" has no rows'
    list(SETS[dataset_id].read(raw))
    assert not any(" is absent; " in message for message in caplog.messages)
    for path in list(raw.glob(pattern)):
        path.unlink()
    assert not any(row.split == split for row in samples(SETS[dataset_id].read(raw)))
    said = [message for message in caplog.messages if message.endswith(expected)]
    assert len(said) == 1
    assert said[0].startswith(f"{dataset_id}: ")


def test_question_ids_that_restart_carry_the_split(copy_of: FolderOf) -> None:
    raw = copy_of("slake")
    num_records = 0
    for name in ("train", "validation", "test"):
        records = json.loads((raw / f"{name}.json").read_text(encoding="utf-8"))
        num_records += len(records)
        numbered = [record | {"qid": number} for number, record in enumerate(records, start=1)]
        (raw / f"{name}.json").write_text(json.dumps(numbered), encoding="utf-8")
    rows = list(SETS["slake"].read(raw, languages=("en", "zh")))
    ids = [row.id for row in rows]
    assert len(set(ids)) == len(ids) == num_records
    assert {"slake/1", "slake/validation-1", "slake/test-1"} <= set(ids)
    assert not any("repeated" in row.reason for row in rows if isinstance(row, Rejected))
