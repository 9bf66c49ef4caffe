"""The data held to their expectations (Great Expectations): a verdict that the graph depends on, and Data Docs.

The verdict file is deterministic and holds no text; Data Docs hold no value of any row. Red stops the graph, after
both are written. What the tables hold is said in `quality/tables.py`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd
from great_expectations.core.run_identifier import RunIdentifier
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)

from openmedq import paths
from openmedq.config import Params, Validate
from openmedq.curate.data_docs import finish_pages
from openmedq.curate.duplicates import DuplicateReason
from openmedq.curate.tables import make_tables
from openmedq.datasets import catalogue
from openmedq.errors import ValidationError
from openmedq.schema import Role, Task
from openmedq.storage.publish import publish
from openmedq.storage.shards import ShardStore
from openmedq.storage.tables import read_counts, read_index, read_json, read_verdicts

NUM_EXAMPLES = 5  # ids named in the verdict, of each red expectation

# Counts and percentages only: a value could be a record's text, and Data Docs are for showing around.
WITHOUT_VALUES = {"result_format": "SUMMARY", "partial_unexpected_count": 0}
WITH_IDS = {"result_format": "COMPLETE", "unexpected_index_column_names": ["id"]}


def run(params: Params) -> None:
    """Write data/validation/verdict.json and data/docs; ValidationError where an expectation does not hold."""
    cards = catalogue.read(paths.CATALOGUE)
    credentialed = {name for name, card in cards.items() if card.is_credentialed}
    tables = _read_tables(cards)
    suites = _expect(params.validate_, cards)
    with publish(paths.DATA_DOCS) as folder:
        verdict = _validate(tables, suites, folder, credentialed)
        finish_pages(folder, verdict)
    with publish(paths.VALIDATION) as folder:
        folder.mkdir()
        (folder / "verdict.json").write_text(json.dumps(verdict, indent=2) + "\n", encoding="utf-8")
    _stop_if_red(verdict)


def _read_tables(cards: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    return make_tables(
        stores={name: ShardStore(paths.SAMPLES / name) for name in cards},
        classes={name: card.classes for name, card in cards.items()},
        verdicts=read_verdicts(),
        index=read_index(),
        waterfall=read_json(paths.MIX / "waterfall.json"),
        num_published={name: card.num_published for name, card in cards.items() if _is_official(name)},
        spill=paths.PARTIAL / "duckdb",
    )


def _is_official(name: str) -> bool:
    """Whether a set was fetched whole: a mirror or a miniature may be a part of it."""
    return bool(read_counts(paths.SAMPLES / name)["origin"] == "official")


def _expect(dials: Validate, cards: Mapping[str, Any]) -> dict[str, dict[str, gxe.Expectation]]:
    """What must hold of each table, in words and as expectations. Nulls, where nothing applies, are passed over."""
    sets = list(cards)
    splits = [f"{name} {split}" for name, card in cards.items() for split in card.roles]
    roles = [role.value for role in Role]
    answer_chars, side_px = dials.max_answer_chars, dials.min_side_px
    return {
        "rows": {
            "ids are there": _is_there("id"),
            "ids are unique": gxe.ExpectColumnValuesToBeUnique(column="id"),
            "sources are in the catalogue": _is_in("source", sets),
            "splits are on the cards": _is_in("source_split", splits),
            "tasks are known": _is_in("task", [task.value for task in Task]),
            "licences are stated": gxe.ExpectColumnValueLengthsToBeBetween(column="licence", min_value=1),
            "answers are not empty": _is_between("shortest_answer_chars", 1),
            f"answers have at most {answer_chars} characters": _is_between("longest_answer_chars", 0, answer_chars),
            "questions are there where the task needs one": _is_between("shortest_question_chars", 1),
            "pictures are there where the task needs one": _is_between("num_pictures", 1),
            f"pictures have sides of at least {side_px} px": _is_between("shortest_side_px", side_px),
            "answers of multiple choice are among the options": _is_between("num_answers_not_offered", 0, 0),
            "labels are among the classes": _is_between("num_unknown_labels", 0, 0),
        },
        "verdicts": {
            "a row has one verdict at most": gxe.ExpectColumnValuesToBeUnique(column="id"),
            "rows with a verdict exist": _is_in("is_known", [True]),
            "rows that are kept instead exist": _is_in("is_kept_known", [True]),
            "rows that are kept instead have no verdict": _is_in("has_kept_verdict", [False]),
            "reasons are known": _is_in("reason", [reason.value for reason in DuplicateReason]),
        },
        "mix": {
            "ids are unique": gxe.ExpectColumnValuesToBeUnique(column="id"),
            "sources are in the catalogue": _is_in("source", sets),
            "roles are known": _is_in("role", roles),
            "no row has two roles": _is_between("num_roles", 1, 1),
            "weights are above 0": gxe.ExpectColumnValuesToBeBetween(column="weight", min_value=0, strict_min=True),
            "positions are within their row groups": gxe.ExpectColumnPairValuesAToBeGreaterThanB(
                column_A="num_rows_in_group", column_B="row"
            ),
            "the row at the position is the one meant": _is_equal("id", "id_there"),
            "no row with a verdict is in the mix": _is_in("has_verdict", [False]),
            "no training row repeats an evaluation row": _is_in("repeats_evaluation", [False]),
        },
        "sets": {
            "sets are in the catalogue": _is_in("id", sets),
            "found = read + rejected": _is_equal("found", "num_told"),
            "read = rows in the shards": _is_equal("read", "num_rows"),
            "read = duplicate + kept out + mix": _is_equal("read", "num_accounted"),
            f"at most {dials.max_rejected:.0%} of the records are rejected": _is_between(
                "rejected_share", 0, dials.max_rejected
            ),
            f"{dials.min_published:g} to {dials.max_published:g} times as many records are found as published": (
                _is_between("found_multiple", dials.min_published, dials.max_published)
            ),
            f"the mix has at least {dials.min_rows} training rows": gxe.ExpectColumnSumToBeBetween(
                column="num_train", min_value=dials.min_rows
            ),
        },
    }


def _is_there(column: str) -> gxe.Expectation:
    return gxe.ExpectColumnValuesToNotBeNull(column=column)


def _is_in(column: str, values: list[Any]) -> gxe.Expectation:
    return gxe.ExpectColumnValuesToBeInSet(column=column, value_set=values)


def _is_between(column: str, low: float, high: float | None = None) -> gxe.Expectation:
    return gxe.ExpectColumnValuesToBeBetween(column=column, min_value=low, max_value=high)


def _is_equal(one: str, other: str) -> gxe.Expectation:
    return gxe.ExpectColumnPairValuesToBeEqual(column_A=one, column_B=other)


def _validate(
    tables: Mapping[str, pd.DataFrame],
    suites: Mapping[str, Mapping[str, gxe.Expectation]],
    pages: Path,
    credentialed: set[str],
) -> dict[str, Any]:
    """Hold the tables to their suites and write the pages: the verdict."""
    context = _open_context(pages)
    source = context.data_sources.add_pandas("data")
    run_id = RunIdentifier(run_name="validate")
    found = []
    for name, table in tables.items():
        suite = context.suites.add(gx.ExpectationSuite(name=name))
        for statement, expectation in suites[name].items():
            expectation.description = statement
            suite.add_expectation(expectation)
        data = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("whole")
        definition = context.validation_definitions.add(gx.ValidationDefinition(name=name, data=data, suite=suite))
        batch_parameters = {"dataframe": table}
        result = definition.run(batch_parameters=batch_parameters, result_format=WITHOUT_VALUES, run_id=run_id)
        outcomes = {outcome.expectation_config.description: outcome for outcome in result.results}
        batch = data.get_batch(batch_parameters)
        for statement, expectation in suites[name].items():
            finding = _describe(name, statement, len(table), outcomes[statement])
            if finding["num_unexpected"] and name == "sets":
                finding["examples"] = _tell_counts(table, _find_ids(batch, expectation))
            elif finding["num_unexpected"]:
                finding["examples"] = _name_rows(_find_ids(batch, expectation), credentialed)
            found.append(finding)
    context.build_data_docs()
    num_red = sum(not finding["success"] for finding in found)
    return {
        "success": num_red == 0,
        "num_expectations": len(found),
        "num_red": num_red,
        "expectations": sorted(found, key=lambda finding: (finding["table"], finding["statement"])),
    }


def _open_context(pages: Path) -> Any:
    """A context that lives in memory and writes below `pages` only."""
    stores = InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
    bars = ProgressBarsConfig(globally=sys.stderr.isatty())
    config = DataContextConfig(store_backend_defaults=stores, progress_bars=bars, analytics_enabled=False)
    context = gx.get_context(mode="ephemeral", project_config=config)
    site = {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(pages.absolute())},
    }
    context.add_data_docs_site("openmedq", site)
    return context


def _describe(table: str, statement: str, num_rows: int, outcome: Any) -> dict[str, Any]:
    """One expectation in the verdict. An expectation that could not be evaluated has no counts, and is red."""
    config, result = outcome.expectation_config, outcome.result
    kwargs = {key: value for key, value in config.kwargs.items() if key != "batch_id"}
    observed = result.get("observed_value")
    unexpected = result.get("unexpected_count")
    return {
        "table": table,
        "statement": statement,
        "name": config.type,
        "columns": [kwargs.pop(key) for key in ("column", "column_A", "column_B") if key in kwargs],
        "kwargs": dict(sorted(kwargs.items())),
        "success": bool(outcome.success),
        "num_rows": num_rows,
        "num_unexpected": None if unexpected is None else int(unexpected),
        "observed": None if observed is None else int(observed),
        "examples": [],
    }


def _find_ids(batch: Any, expectation: gxe.Expectation) -> set[str]:
    result = batch.validate(expectation, result_format=WITH_IDS).result
    return {str(row["id"]) for row in result["unexpected_index_list"]}


def _name_rows(ids: set[str], credentialed: set[str]) -> list[str]:
    """The first of the rows, of sets whose records may be named."""
    return sorted(name for name in ids if name.split("/")[0] not in credentialed)[:NUM_EXAMPLES]


def _tell_counts(table: pd.DataFrame, ids: set[str]) -> list[str]:
    """What is found of the sets, and what should be."""
    told = []
    for row in table[table["id"].isin(ids)].to_dict("records"):
        published = "" if pd.isna(row["num_published"]) else f", published {row['num_published']:,.0f}"
        told.append(f"{row['id']}: found {row['found']:,} records{published}, rejected {row['num_rejected']:,}")
    return told


def _stop_if_red(verdict: Mapping[str, Any]) -> None:
    red = [finding for finding in verdict["expectations"] if not finding["success"]]
    if not red:
        return
    first = red[0]
    if first["num_unexpected"] is not None:
        examples = "; ".join(first["examples"]) if first["table"] == "sets" else ""
        detail = examples or f"{first['num_unexpected']} of {first['num_rows']} do not hold"
    else:
        detail = f"observed: {first['observed']}"
    raise ValidationError(
        f"the data are red: {len(red)} of {verdict['num_expectations']} expectations; first, in {first['table']}: "
        f"{first['statement']} ({detail}); see {paths.VALIDATION / 'verdict.json'} and "
        f"{paths.DATA_DOCS / 'index.html'}"
    )
