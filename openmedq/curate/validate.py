"""Stage validate: check the data against expectations with Great Expectations, and write a verdict and a page.

The verdict is deterministic and holds no text. If an expectation is not met, the stage fails after it has written both.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)

from openmedq import paths
from openmedq.config import Params, Validate
from openmedq.curate.data_docs import render_page
from openmedq.curate.reasons import DuplicateReason
from openmedq.curate.tables import make_tables
from openmedq.datasets import catalogue
from openmedq.datasets.card import Card
from openmedq.errors import ValidationError
from openmedq.schema import Role, Task
from openmedq.storage.publish import publish
from openmedq.storage.shards import ShardStore
from openmedq.storage.tables import read_counts, read_index, read_json, read_verdicts

NUM_EXAMPLES = 5  # ids in the verdict for each expectation that is not met

WITH_IDS = {"result_format": "COMPLETE", "unexpected_index_column_names": ["id"]}


def run(params: Params) -> None:
    """Write data/validation/verdict.json and data/docs; ValidationError if an expectation is not met."""
    cards = catalogue.read(paths.CATALOGUE)
    credentialed = {name for name, card in cards.items() if card.is_credentialed}
    verdict = _validate(_read_tables(cards), _expect(params.validate_, cards), credentialed)
    with publish(paths.DATA_DOCS) as folder:
        folder.mkdir()
        (folder / "index.html").write_text(render_page(verdict), encoding="utf-8")
    with publish(paths.VALIDATION) as folder:
        folder.mkdir()
        (folder / "verdict.json").write_text(json.dumps(verdict, indent=2) + "\n", encoding="utf-8")
    _raise_if_failed(verdict)


def _read_tables(cards: Mapping[str, Card]) -> dict[str, pd.DataFrame]:
    # A local data folder or a miniature may hold a part of a dataset, so only official files must be complete.
    return make_tables(
        cards,
        stores={name: ShardStore(paths.SAMPLES / name) for name in cards},
        complete={name for name in cards if read_counts(paths.SAMPLES / name)["origin"] == "official"},
        verdicts=read_verdicts(),
        index=read_index(),
        waterfall=read_json(paths.MIX / "waterfall.json"),
        spill=paths.PARTIAL / "duckdb",
    )


def _expect(settings: Validate, cards: Mapping[str, Card]) -> dict[str, dict[str, gxe.Expectation]]:
    """The expectations of each table by their statements. Null means that a column does not apply to the row."""
    names = list(cards)
    splits = [f"{name} {split}" for name, card in cards.items() for split in card.roles]
    roles = [role.value for role in Role]
    answer_chars, side_px = settings.max_answer_chars, settings.min_side_px
    return {
        "rows": {
            "ids are not null": gxe.ExpectColumnValuesToNotBeNull(column="id"),
            "ids are unique": gxe.ExpectColumnValuesToBeUnique(column="id"),
            "sources are in the catalogue": _is_in("source", names),
            "splits are on the cards": _is_in("source_split", splits),
            "tasks are known": _is_in("task", [task.value for task in Task]),
            "licences are stated": gxe.ExpectColumnValueLengthsToBeBetween(column="licence", min_value=1),
            "answers are not empty": _is_between("shortest_answer_chars", 1),
            f"answers have at most {answer_chars} characters": _is_between("longest_answer_chars", 0, answer_chars),
            "questions are there if the task needs one": _is_between("shortest_question_chars", 1),
            "images are there if the task needs one": _is_between("num_images", 1),
            f"images have sides of at least {side_px} px": _is_between("shortest_side_px", side_px),
            "answers of multiple choice are among the options": _is_between("num_answers_not_offered", 0, 0),
            "labels are among the classes": _is_between("num_unknown_labels", 0, 0),
        },
        "duplicates": {
            "a row has at most one duplicate decision": gxe.ExpectColumnValuesToBeUnique(column="id"),
            "rows with a decision exist": _is_in("is_known", [True]),
            "kept rows exist": _is_in("is_kept_known", [True]),
            "kept rows have no decision": _is_in("has_kept_decision", [False]),
            "reasons are known": _is_in("reason", [reason.value for reason in DuplicateReason]),
        },
        "mix": {
            "ids are unique": gxe.ExpectColumnValuesToBeUnique(column="id"),
            "sources are in the catalogue": _is_in("source", names),
            "roles are known": _is_in("role", roles),
            "no row has two roles": _is_between("num_roles", 1, 1),
            "weights are above 0": gxe.ExpectColumnValuesToBeBetween(column="weight", min_value=0, strict_min=True),
            "positions are within their row groups": gxe.ExpectColumnPairValuesAToBeGreaterThanB(
                column_A="num_rows_in_group", column_B="row"
            ),
            "the row at the position has the same id": _is_equal("id", "id_at_position"),
            "no row with a duplicate decision is in the mix": _is_in("has_decision", [False]),
            "no training row repeats an evaluation row": _is_in("repeats_evaluation", [False]),
        },
        "datasets": {
            "datasets are in the catalogue": _is_in("id", names),
            "found = read + rejected": _is_equal("found", "num_read_or_rejected"),
            "read = rows in the shards": _is_equal("read", "num_rows"),
            "read = duplicate + kept out + mix": _is_equal("read", "num_accounted"),
            f"at most {settings.max_rejected:.0%} of the records are rejected": _is_between(
                "rejected_share", 0, settings.max_rejected
            ),
            f"{settings.min_published:g} to {settings.max_published:g} times as many records are found as published": (
                _is_between("found_multiple", settings.min_published, settings.max_published)
            ),
            f"the mix has at least {settings.min_rows} training rows": gxe.ExpectColumnSumToBeBetween(
                column="num_train", min_value=settings.min_rows
            ),
        },
    }


def _is_in(column: str, values: list[Any]) -> gxe.Expectation:
    return gxe.ExpectColumnValuesToBeInSet(column=column, value_set=values)


def _is_between(column: str, low: float, high: float | None = None) -> gxe.Expectation:
    return gxe.ExpectColumnValuesToBeBetween(column=column, min_value=low, max_value=high)


def _is_equal(one: str, other: str) -> gxe.Expectation:
    return gxe.ExpectColumnPairValuesToBeEqual(column_A=one, column_B=other)


def _validate(
    tables: Mapping[str, pd.DataFrame], suites: Mapping[str, Mapping[str, gxe.Expectation]], credentialed: set[str]
) -> dict[str, Any]:
    """Check each table against its suite and return the verdict."""
    config = DataContextConfig(  # in memory: writes no file and sends nothing
        store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        progress_bars=ProgressBarsConfig(globally=sys.stderr.isatty()),
        analytics_enabled=False,
    )
    data_source = gx.get_context(mode="ephemeral", project_config=config).data_sources.add_pandas("data")
    found = []
    for name, table in tables.items():
        suite = gx.ExpectationSuite(name=name)
        for statement, expectation in suites[name].items():
            expectation.description = statement
            suite.add_expectation(expectation)
        definition = data_source.add_dataframe_asset(name).add_batch_definition_whole_dataframe(name)
        for outcome in definition.get_batch({"dataframe": table}).validate(suite, result_format=WITH_IDS).results:
            finding = _describe(name, len(table), outcome)
            ids = {str(row["id"]) for row in outcome.result.get("unexpected_index_list") or ()}
            if name == "datasets":
                finding["examples"] = _list_counts(table, ids)
            else:
                finding["examples"] = sorted(each for each in ids if each.split("/")[0] not in credentialed)
                finding["examples"] = finding["examples"][:NUM_EXAMPLES]
            found.append(finding)
    num_red = sum(not finding["success"] for finding in found)
    return {
        "success": num_red == 0,
        "num_expectations": len(found),
        "num_red": num_red,
        "expectations": sorted(found, key=lambda finding: (finding["table"], finding["statement"])),
    }


def _describe(table: str, num_rows: int, outcome: Any) -> dict[str, Any]:
    """One expectation of the verdict. An expectation that could not be evaluated has no counts and is not met."""
    config, result = outcome.expectation_config, outcome.result
    kwargs = {key: value for key, value in config.kwargs.items() if key != "batch_id"}
    observed = result.get("observed_value")
    unexpected = result.get("unexpected_count")
    return {
        "table": table,
        "statement": config.description,
        "name": config.type,
        "columns": [kwargs.pop(key) for key in ("column", "column_A", "column_B") if key in kwargs],
        "kwargs": dict(sorted(kwargs.items())),
        "success": bool(outcome.success),
        "num_rows": num_rows,
        "num_unexpected": None if unexpected is None else int(unexpected),
        "observed": None if observed is None else int(observed),
    }


def _list_counts(table: pd.DataFrame, ids: set[str]) -> list[str]:
    """The counts of the datasets with these ids."""
    lines = []
    for row in table[table["id"].isin(ids)].to_dict("records"):
        published = "" if pd.isna(row["num_published"]) else f", published {row['num_published']:,.0f}"
        lines.append(f"{row['id']}: found {row['found']:,} records{published}, rejected {row['num_rejected']:,}")
    return lines


def _raise_if_failed(verdict: Mapping[str, Any]) -> None:
    failed = [finding for finding in verdict["expectations"] if not finding["success"]]
    if not failed:
        return
    first = failed[0]
    if first["num_unexpected"] is None:
        detail = f"observed: {first['observed']}"
    elif first["table"] == "datasets":
        detail = "; ".join(first["examples"])
    else:
        detail = f"{first['num_unexpected']} of {first['num_rows']} rows fail"
    raise ValidationError(
        f"validation failed: {len(failed)} of {verdict['num_expectations']} expectations are not met; the first, "
        f"in table {first['table']}: {first['statement']} ({detail}); see {paths.VALIDATION / 'verdict.json'} and "
        f"{paths.DATA_DOCS / 'index.html'}"
    )
