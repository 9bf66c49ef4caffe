"""Run as two processes: trains in each folder that is named, and writes what each process saw to seen.json there."""

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from openmedq import config, paths
from openmedq.evaluation import evaluate
from openmedq.model import language
from openmedq.storage.progress import NoLog
from openmedq.training import train, trainer
from openmedq.training.devices import Devices


def spy(seen: dict[str, Any]) -> None:
    place, divide, train_tokenizer = Devices.place, trainer.divide, language.train_tokenizer

    def place_and_look(self: Devices, learner: torch.nn.Module) -> None:
        seen["weights"] = _hash(learner)
        place(self, learner)
        weights = list(learner.parameters())
        seen["num_sharded"] = sum(isinstance(each, DTensor) for each in weights)
        seen["num_tensors"] = len(weights)
        own = sum(each.to_local().numel() if isinstance(each, DTensor) else each.numel() for each in weights)
        seen["share"] = own / sum(each.numel() for each in weights)

    def divide_and_count(rows: Any, *arguments: Any) -> Any:
        micros = divide(rows, *arguments)
        seen["micros"].append(sum(micro.batch.max_learned > 0 for micro in micros))
        seen["images"].append(sum(len(micro.batch.pixels) for micro in micros))
        return micros

    def count_tokenizers(*arguments: Any) -> Any:
        seen["num_tokenizers"] += 1
        return train_tokenizer(*arguments)

    Devices.place = place_and_look
    trainer.divide = divide_and_count
    language.train_tokenizer = count_tokenizers


def _hash(learner: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in learner.state_dict().items():
        digest.update(name.encode() + tensor.detach().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def main(folders: list[str]) -> None:
    torch.set_num_threads(1)
    seen: dict[str, Any] = {}
    spy(seen)
    for folder in folders:
        os.chdir(folder)
        seen.update(micros=[], images=[], num_tokenizers=0)
        params = config.load(paths.PARAMS)
        train.run(params, NoLog())
        if params.evaluate.batch_size == 1:
            evaluate.run(params, NoLog())
        everyone: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(everyone, seen)
        if torch.distributed.get_rank() == 0:
            Path("seen.json").write_text(json.dumps(everyone), encoding="utf-8")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    child = os.fork()  # both have imported torch
    os.environ["RANK"] = os.environ["LOCAL_RANK"] = "0" if child else "1"
    main(sys.argv[1:])
    if child:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
