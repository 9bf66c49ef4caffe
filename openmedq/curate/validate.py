"""Stage validate: check the data against expectations with Great Expectations, and write a verdict and a page.

The verdict is deterministic and holds no text. If an expectation is not met, the stage fails after it has written both.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import great_expectations as gx
import great_expectations.expectations as gxe
import jinja2
import pandas as pd
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)

from openmedq import paths
from openmedq.config import Params, Validate
from openmedq.curate import conditions
from openmedq.curate.tables import NUM_EXAMPLES, Table, make_tables
from openmedq.datasets import catalogue
from openmedq.datasets.card import Card
from openmedq.errors import ValidationError
from openmedq.storage.publish import publish
from openmedq.storage.shards import ShardStore
from openmedq.storage.tables import read_counts, read_json, read_verdicts

_COUNTED = frozenset(("id", "found", "num_rejected", "found_multiple"))
WITH_IDS = {"result_format": "COMPLETE", "unexpected_index_column_names": ["id"]}


def run(params: Params) -> None:
    """Write data/validation/verdict.json and data/docs; ValidationError if an expectation is not met."""
    cards = catalogue.read(paths.CATALOGUE)
    credentialed = {name for name, card in cards.items() if card.is_credentialed}
    verdict = _validate(_read_tables(cards, params.validate_), _expect(params.validate_, cards), credentialed)
    with publish(paths.DATA_DOCS) as folder:
        folder.mkdir()
        (folder / "index.html").write_text(render_page(verdict), encoding="utf-8")
    with publish(paths.VALIDATION) as folder:
        folder.mkdir()
        (folder / "verdict.json").write_text(json.dumps(verdict, indent=2) + "\n", encoding="utf-8")
    _raise_if_failed(verdict)


def _read_tables(cards: Mapping[str, Card], settings: Validate) -> dict[str, Table]:
    # A local data folder or a miniature may hold a part of a dataset, so only official files must be complete.
    return make_tables(
        cards,
        stores={name: ShardStore(paths.SAMPLES / name) for name in cards},
        complete={name for name in cards if read_counts(paths.SAMPLES / name)["origin"] == "official"},
        verdicts=read_verdicts(),
        waterfall=read_json(paths.MIX / "waterfall.json"),
        settings=settings,
        spill=paths.PARTIAL / "duckdb",
    )


def _expect(settings: Validate, cards: Mapping[str, Card]) -> dict[str, dict[str, gxe.Expectation]]:
    """The expectations of each table by their statements. Null means that a column does not apply to the dataset."""
    return {
        "rows": _expect_none(conditions.of_rows(settings) | conditions.UNIQUE_IDS),
        "promises": _expect_none(conditions.of_promises()),
        "mix": _expect_none(conditions.of_mix(list(cards))),
        "datasets": {
            "datasets are in the catalogue": gxe.ExpectColumnValuesToBeInSet(column="id", value_set=list(cards)),
            "found = read + rejected": _is_equal("found", "num_read_or_rejected"),
            "read = rows in the shards": _is_equal("read", "num_rows"),
            "read = duplicate + kept out + mix": _is_equal("read", "num_accounted"),
            "mix = rows in the index": _is_equal("mix", "num_entries"),
            f"at most {settings.max_rejected:.0%} of the records are rejected": _is_between(
                "rejected_share", 0, settings.max_rejected
            ),
            f"{settings.min_published:g} to {settings.max_published:g} times as many records are found as published": (
                _is_between("found_multiple", settings.min_published, settings.max_published)
            ),
            f"the mix has at least {settings.min_rows} training rows": gxe.ExpectColumnSumToBeBetween(
                column="num_train", min_value=settings.min_rows
            ),
            conditions.OFTEN_YES: _is_at_least("yes_share", "yes_low"),
            conditions.SELDOM_YES: _is_at_least("yes_high", "yes_share"),
            conditions.LANGUAGE: _is_at_least("max_foreign", "foreign_share"),
        },
    }


def _expect_none(statements: Iterable[str]) -> dict[str, gxe.Expectation]:
    """No row of any dataset fails: the column of the statement is 0."""
    return {statement: _is_between(statement, 0, 0) for statement in statements}


def _is_between(column: str, low: float, high: float | None = None) -> gxe.Expectation:
    return gxe.ExpectColumnValuesToBeBetween(column=column, min_value=low, max_value=high)


def _is_equal(one: str, other: str) -> gxe.Expectation:
    return gxe.ExpectColumnPairValuesToBeEqual(column_A=one, column_B=other)


def _is_at_least(one: str, other: str) -> gxe.Expectation:
    return gxe.ExpectColumnPairValuesAToBeGreaterThanB(
        column_A=one, column_B=other, or_equal=True, ignore_row_if="either_value_is_missing"
    )


def _validate(
    tables: Mapping[str, Table], suites: Mapping[str, Mapping[str, gxe.Expectation]], credentialed: set[str]
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
        batch = definition.get_batch({"dataframe": table.frame})
        found += [
            _describe(name, table, each, credentialed) for each in batch.validate(suite, result_format=WITH_IDS).results
        ]
    num_red = sum(not finding["success"] for finding in found)
    return {
        "success": num_red == 0,
        "num_expectations": len(found),
        "num_red": num_red,
        "expectations": sorted(found, key=lambda finding: (finding["table"], finding["statement"])),
    }


def _describe(name: str, table: Table, outcome: Any, credentialed: set[str]) -> dict[str, Any]:
    """One expectation of the verdict; one that could not be evaluated has no counts and is not met.

    `num_rows` and `num_unexpected` count rows, or datasets in the table `datasets`; `observed` is what was found by
    dataset, or one number for all; `examples` are ids of rows that are not credentialed.
    """
    config, result, frame = outcome.expectation_config, outcome.result, table.frame
    statement, is_by_dataset = config.description, name == "datasets"
    columns = [config.kwargs[key] for key in ("column", "column_A", "column_B") if key in config.kwargs]
    num_unexpected, observed = result.get("unexpected_count"), result.get("observed_value")
    red = sorted({str(row["id"]) for row in result.get("unexpected_index_list") or ()})
    at_fault = frame[frame["id"].isin(red)]
    if num_unexpected is not None and not is_by_dataset:
        num_unexpected = at_fault[statement].sum()
    if observed is None:
        values = at_fault.to_dict("records")
        observed = {row["id"]: _list_values(row, columns) for row in values}
    ids = [
        each for dataset in red if dataset not in credentialed for each in table.examples.get((dataset, statement), ())
    ]
    return {
        "table": name,
        "statement": statement,
        "success": bool(outcome.success),
        "num_rows": len(frame) if is_by_dataset else int(frame["num_rows"].sum()),
        "num_unexpected": None if num_unexpected is None else int(num_unexpected),
        "observed": observed if isinstance(observed, dict) else int(observed),
        "examples": [each for each in ids if each.split("/")[0] not in credentialed][:NUM_EXAMPLES],
    }


def _list_values(row: Mapping[Any, Any], columns: Sequence[str]) -> str:
    """The values of a dataset that is at fault, as a text."""
    if "found" not in row:
        return f"{row[columns[0]]:,.0f} of {row['num_rows']:,.0f} rows"
    published = "" if pd.isna(row["num_published"]) else f", published {row['num_published']:,.0f}"
    values = [
        f", {name} {row[name]:,{'.0f' if row[name] % 1 == 0 else '.3g'}}" for name in columns if name not in _COUNTED
    ]
    return f"found {row['found']:,.0f} records{published}, rejected {row['num_rejected']:,.0f}{''.join(values)}"


def render_page(verdict: Mapping[str, Any]) -> str:
    """Render the verdict as one self-contained HTML page. It contains counts only, no values or ids of records."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("openmedq.curate"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("validation.html.j2").render(verdict=verdict)


def _raise_if_failed(verdict: Mapping[str, Any]) -> None:
    failed = [finding for finding in verdict["expectations"] if not finding["success"]]
    if not failed:
        return
    first = failed[0]
    observed = first["observed"]
    lines = [f"{dataset}: {value}" for dataset, value in observed.items()] if isinstance(observed, dict) else []
    detail = "; ".join(lines) or f"observed: {observed}"
    such_as = f", such as {', '.join(first['examples'])}" if first["examples"] else ""
    raise ValidationError(
        f"validation failed: {len(failed)} of {verdict['num_expectations']} expectations are not met; the first, "
        f"in table {first['table']}: {first['statement']} ({detail}{such_as}); see "
        f"{paths.VALIDATION / 'verdict.json'} and {paths.DATA_DOCS / 'index.html'}"
    )
