import shutil
from pathlib import Path

import pytest

from openmedq.datasets import DATASETS
from openmedq.fetch.mirror import list_unmatched, match_folders

ENTRIES = {set_id: set_.card for set_id, set_ in DATASETS.items()}

NAMES = {
    "breast_ultrasound": ["Dataset_BUSI_with_GT", "Dataset_BUSI", "BUSI", "Breast-Ultrasound"],
    "cxr8": ["NIHCC/CXR8", "NIHCC", "ChestXray-NIHCC", "CXR8", "ChestX-ray14", "NIH Chest X-rays", "nih-chest-xrays"],
    "iu_xray": ["NLMCXR", "IU X-Ray", "IU-XRAY", "chest-xrays-indiana-university", "Open-i"],
    "medmcqa": ["openlifescienceai/medmcqa", "medmcqa-main"],
    "medqa": ["MedQA", "MedQA-master", "data_clean", "datasets--GBaker--MedQA-USMLE-4-options"],
    "mimic_cxr": [
        *("mimic-cxr-jpg-2.1.0.physionet.org", "mimic-cxr-jpg", "MIMIC-CXR-JPG-2.0.0", "mimic-cxr-2.1.0"),
        *("physionet.org", "mimic-cxr-jpg-chest-radiographs-with-structured-labels-2.1.0"),
    ],
    "omnimedvqa": ["OmniMedVQA", "foreverbeliever_OmniMedVQA"],
    "pathvqa": ["path-vqa", "PathVQA-master", "pvqa", "flaviagiammarino/path-vqa"],
    "pmc_oa": ["PMC-OA", "axiong--pmc_oa", "PMC-CLIP-main"],
    "pmc_vqa": ["PMC-VQA", "RadGenome/PMC-VQA", "PMC-VQA-b56ae594f794867893143b337b4118a835794647"],
    "pubmedqa": ["pubmedqa-master", "PubMedQA (1)", "qiaojin/PubMedQA"],
    "roco": ["roco-dataset-master", "ROCOv2", "roco-dataset", "8333645"],
    "slake": ["Slake1.0", "Slake", "SLAKE", "datasets--BoKelvin--SLAKE"],
    "ubench": ["uBench", "u-bench", "\N{MICRO SIGN}-Bench", "jnirschl/uBench"],
    "vqa_med_2019": ["ImageClef-2019-VQA-Med", "VQA-Med-2019-master", "ImageClef-2019-VQA-Med-Training", "VQA-Med"],
    "vqa_rad": ["osfstorage-archive", "VQA-RAD", "VQA_RAD", "vqa-rad", "osfstorage-archive (2)"],
}
SHARED = {  # where a file of the dataset is in it
    "medfmc_chest": ["MedFM-main", "MedFMC", "openmedlab/MedFM"],
    "medfmc_endo": ["MedFM"],
    "retina_mnist": ["MedMNIST", "medmnist-v2", "10519652"],
}


@pytest.mark.parametrize(("set_id", "name"), [(set_id, name) for set_id, names in NAMES.items() for name in names])
def test_a_folder_is_matched_by_the_names_that_its_publishers_use(tmp_path: Path, set_id: str, name: str) -> None:
    (tmp_path / name).mkdir(parents=True)
    (tmp_path / "notes").mkdir()
    for junk in ("__MACOSX", ".hidden"):
        (tmp_path / junk).mkdir()
    (folder,) = match_folders(tmp_path, ENTRIES).values()
    assert match_folders(tmp_path, ENTRIES) == {set_id: folder}
    assert folder in (tmp_path / name, (tmp_path / name).parent)
    assert list_unmatched(tmp_path, [folder]) == ["notes"]


@pytest.mark.parametrize(("set_id", "name"), [(set_id, name) for set_id, names in SHARED.items() for name in names])
def test_a_name_that_datasets_share_is_matched_by_a_file(tmp_path: Path, set_id: str, name: str) -> None:
    (tmp_path / name).mkdir(parents=True)
    assert match_folders(tmp_path, ENTRIES, may_be_empty=True) == {}
    path = tmp_path / name / ENTRIES[set_id].files[0].path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert match_folders(tmp_path, ENTRIES) == {set_id: tmp_path / name}


@pytest.mark.parametrize("folder", ["MedFM-main/data/MedFMC", "MedFMC/data/MedFMC", "MedFMC"])
@pytest.mark.parametrize("task", ["chest", "colon", "endo"])
def test_medfmc_is_matched_by_lists_beside_its_images(tmp_path: Path, task: str, folder: str) -> None:
    (tmp_path / folder / task).mkdir(parents=True)
    (tmp_path / folder / task / "trainval.txt").touch()
    assert match_folders(tmp_path, ENTRIES).keys() == {f"medfmc_{task}"}


@pytest.mark.parametrize("set_id", sorted(ENTRIES))
def test_id_title_and_aliases_are_of_one_dataset(tmp_path: Path, set_id: str) -> None:
    card = ENTRIES[set_id]
    for name in (set_id, card.title, *card.aliases):
        (tmp_path / set_id / name).mkdir(parents=True)
        matched = match_folders(tmp_path / set_id, ENTRIES, may_be_empty=True)
        assert set(matched) <= {set_id}
        shutil.rmtree(tmp_path / set_id)
