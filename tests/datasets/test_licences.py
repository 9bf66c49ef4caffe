from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmedq.datasets import BENCHMARKS, SOURCES
from openmedq.datasets.card import Access
from openmedq.datasets.licences import NO_CC, UNKNOWN, find, refuse, refuse_card, spell
from tests.stages.toyset import CARD

FLAGS = ("", "-NC", "-SA", "-ND", "-NC-SA", "-NC-ND")
VERSIONS = ("", "-1.0", "-2.0", "-2.5", "-3.0", "-4.0")
CREATIVE_COMMONS = [f"CC-BY{flags}{version}" for flags, version in product(FLAGS, VERSIONS)]
OTHERS = [
    *("CC0-1.0", "CC-PDM-1.0", "MIT", "ISC", "Apache-2.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "ODC-By-1.0"),
    *("PDDL-1.0", "PhysioNet-Credentialed-1.5.0", "LicenseRef-LLaMA-1", "LicenseRef-NIH-ChestXray"),
    "LicenseRef-Public-Domain",
]
POLICIES = ("research", "commercial", "redistributable")


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("http://creativecommons.org/licenses/by-nc-nd/4.0/", "CC-BY-NC-ND-4.0"),
        ("https://creativecommons.org/publicdomain/zero/1.0/deed.en", "CC0-1.0"),
        ("CC0", "CC0-1.0"),
        ("Public Domain", "LicenseRef-Public-Domain"),
        *[("MIT License", "MIT"), ("Apache License 2.0", "Apache-2.0"), ("BSD 3-Clause License", "BSD-3-Clause")],
        *[("CC BY-NC 4.0 license", "CC-BY-NC-4.0"), ("pddl", "PDDL-1.0"), ("odc-by", "ODC-By-1.0")],
        ("NO-CC CODE", NO_CC),
    ],
)
def test_spellings(words: str, name: str) -> None:
    assert spell(words) == name


@pytest.mark.parametrize(
    "words",
    [
        *("", " ", "CC", "BY", "4.0", "CC BYE", "CC BY-XX", "CC BY?", "CC BY+", "CC BY 4.0 2.0", "CC BY-SA-ND"),
        "CC BY 7.0",
        *("not CC BY", "CC BY or better", "CC BY, but not the pictures", "no CC BY", "MIT by the tag of this copy"),
        *("all rights reserved", "unknown", "other", "custom", "https://example.org/licenses/by/4.0/", "CC BY\0"),
        *("https://creativecommons.org/licenses/by/4.0/?not", "CC BY 4.0 Attribution", "CC BY; MIT", "SMIT", "GPL"),
        *("license", "MIT-licensed", "MIT License, modified", "MIT License not", "non-MIT License"),
    ],
)
def test_what_is_no_licence_is_unknown(words: str) -> None:
    assert spell(words) == ""
    assert refuse(words, "research") == UNKNOWN
    assert refuse(words, "any") is None


@pytest.mark.parametrize(
    ("name", "is_commercial", "is_redistributable"),
    [
        ("CC-BY-4.0", True, True),
        ("CC-BY-SA", True, True),
        ("CC-BY-ND-4.0", True, False),
        ("CC-BY-NC-4.0", False, True),
        ("CC-BY-NC-ND-4.0", False, False),
        ("MIT", True, True),
        ("PhysioNet-Credentialed-1.5.0", False, False),
        ("LicenseRef-LLaMA-1", False, False),
    ],
)
def test_what_a_licence_allows(name: str, is_commercial: bool, is_redistributable: bool) -> None:
    assert refuse(name, "any") is None
    assert refuse(name, "research") is None
    assert refuse(name, "commercial") == (None if is_commercial else f"licence {name}: not commercial")
    assert refuse(name, "redistributable") == (None if is_redistributable else f"licence {name}: not redistributable")


@pytest.mark.parametrize("policy", POLICIES)
def test_what_is_not_stated_is_unknown(policy: str) -> None:
    assert refuse(None, policy) == refuse(NO_CC, policy) == UNKNOWN


def test_credentialed_sets_are_for_research_only_whatever_their_licence() -> None:
    assert refuse("MIT", "research", is_credentialed=True) is None
    assert refuse("MIT", "commercial", is_credentialed=True) == "credentialed: not commercial"
    assert refuse("MIT", "redistributable", is_credentialed=True) == "credentialed: not redistributable"
    assert refuse("words", "research", is_credentialed=True) == UNKNOWN


def test_a_card_decides_unless_its_rows_do() -> None:
    card = CARD.model_copy(update={"licence": "CC-BY-NC-4.0"})
    assert refuse_card(card, "research") is None
    assert refuse_card(card, "commercial") == "licence CC-BY-NC-4.0: not commercial"
    assert refuse_card(card.model_copy(update={"has_row_licences": True}), "commercial") is None
    secret = {"has_row_licences": True, "access": Access.CREDENTIALED, "licence": "MIT"}
    assert refuse_card(card.model_copy(update=secret), "commercial") == "credentialed: not commercial"


def test_the_sets() -> None:
    cards = {name: module.card for name, module in (SOURCES | BENCHMARKS).items()}
    assert {name for name, card in cards.items() if card.has_row_licences} == {"pmc_oa", "pmc_vqa", "roco", "ubench"}
    unknown = {name for name, card in cards.items() if refuse_card(card, "research")}
    assert unknown == {"breast_ultrasound", "medqa", "omnimedvqa", "pathvqa"}
    assert {name for name, card in cards.items() if refuse_card(card, "commercial")} - unknown == {
        "iu_xray",
        "mimic_cxr",
    }
    assert all(card.licence == spell(card.licence) for card in cards.values() if spell(card.licence))


@given(st.text())
def test_no_words_break_it_and_a_spelling_is_its_own(words: str) -> None:
    name = spell(words)
    assert spell(name) == name
    assert all((refuse(words, policy) is None) <= bool(find(words)) for policy in POLICIES)


@pytest.mark.parametrize("name", CREATIVE_COMMONS + OTHERS)
def test_case_and_separators_do_not_matter(name: str) -> None:
    for separator in ("-", " ", "_", "  "):
        words = name.replace("-", separator)
        assert spell(words) == spell(words.upper()) == spell(words.lower()) == name
