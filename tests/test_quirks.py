"""Which quirk of which set is met by which test. A set's docstring lists them, and its miniature carries them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from openmedq.datasets import BENCHMARKS, SOURCES

SETS = SOURCES | BENCHMARKS
ROOT = Path(__file__).parents[1]

QUIRKS = {
    "blood_mnist": (
        "tests/benchmarks/test_medmnist.py",
        {
            "one class has a name with commas": "test_classes_are_called_as_published",
            "classes are of unequal size": "test_classes_are_of_unequal_size",
        },
    ),
    "breast_ultrasound": (
        "tests/benchmarks/test_breast_ultrasound.py",
        {
            "masks beside the pictures, several for several lesions": "test_masks_are_counted_and_are_no_records",
            "names with spaces, in the order of their numbers": "test_pictures_come_in_the_order_of_their_numbers",
            "one picture under several names, and in two classes": "test_copies_are_records_also_where_their_classes_differ",
            "different sizes and channels": "test_pictures_differ_in_size_and_channels",
            "unequal classes": "test_the_classes_are_unequal",
        },
    ),
    "cxr8": (
        "tests/benchmarks/test_cxr8.py",
        {
            "two column names hold a comma": "test_a_row_is_kept_whole",
            "a comma at the end of the lines, gender or sex": "test_all_versions_of_the_table_are_read",
            "No Finding is no class": "test_no_finding_is_no_label",
            "a patient has many pictures, all in the same list": "test_the_miniature_has_what_is_odd",
            "ages that no one reaches": "test_the_miniature_has_what_is_odd",
            "a few pictures are RGBA": "test_the_miniature_has_what_is_odd",
            "SLAKE shows some of the pictures": "test_the_miniature_has_what_is_odd",
        },
    ),
    "iu_xray": (
        "tests/sources/test_iu_xray.py",
        {
            "XXXX stands for what could identify a patient": "test_placeholders_are_kept",
            "reports without FINDINGS, a few without IMPRESSION": "test_a_section_that_is_absent_is_no_turn",
            "reports with neither section": "test_a_report_without_both_sections_rejects_each_of_its_pictures",
            "reports that name no picture": "test_a_report_without_picture_is_rejected_once",
            "up to five pictures share one report": "test_pictures_of_one_study_share_its_report",
            "INDICATION is empty in some reports": "test_an_empty_indication_is_no_context",
            "the id of a picture does not always follow from its report's": "test_pictures_are_called_as_published",
            "normal studies have one MeSH term": "test_mesh_terms_are_kept",
            "a picture named but absent, one that no report names": "test_absent_and_unnamed_pictures",
            "Thumbs.db among the pictures": "test_what_is_no_picture_in_the_archive_is_passed_by",
            "the licence stands in each report": "test_the_licence_is_the_reports",
        },
    ),
    "medfmc_chest": (
        "tests/benchmarks/test_medfmc.py",
        {
            "multi-label, a quarter all-zero": "test_all_zero_rows_have_no_label",
            "rare findings": "test_rare_findings_are_in_both_parts",
            "two kinds of file names": "test_chest_has_two_kinds_of_names",
            "labels of test_WithoutLabel in the later table": "test_labels_published_later_are_those_of_the_hidden_test",
            "0.0 and 1.0; gaps in the row numbers": "test_the_tables_are_written_as_published",
            "train_20, val_20 and few-shot lists": "test_lists_that_repeat_trainval_are_named",
            "pictures that no list names": "test_pictures_that_only_tables_name_are_unlisted",
        },
    ),
    "medfmc_colon": (
        "tests/benchmarks/test_medfmc.py",
        {
            "names with a space": "test_a_colon_name_tells_case_and_scan",
            "regions are in one split, scans in several": "test_regions_are_in_one_part_and_scans_are_not",
            "single label, unequal shares": "test_tumor_is_rarer_in_the_test",
            "empty labels in the challenge's table": "test_without_the_published_table_the_hidden_test_is_withheld",
            "train_20, val_20 and few-shot lists": "test_lists_that_repeat_trainval_are_named",
            "pictures that no list names": "test_pictures_that_only_tables_name_are_unlisted",
        },
    ),
    "medfmc_endo": (
        "tests/benchmarks/test_medfmc.py",
        {
            "multi-label with spaces, four of ten all-zero": "test_all_zero_rows_have_no_label",
            "no tumor in the test": "test_no_tumor_is_scored",
            "names begin with the study": "test_studies_are_in_one_part",
            "a column without a name": "test_the_tables_are_written_as_published",
            "empty labels in the challenge's table": "test_without_the_published_table_the_hidden_test_is_withheld",
            "train_20, val_20 and few-shot lists": "test_lists_that_repeat_trainval_are_named",
            "pictures that no list names": "test_pictures_that_only_tables_name_are_unlisted",
        },
    ),
    "medmcqa": (
        "tests/sources/test_medmcqa.py",
        {
            "cop counts from 0 in one layout and from 1 in the other": "test_both_layouts_say_the_same",
            'Questions of the choice type "multi" still have one correct option': "test_questions_of_the_type_multi_are_kept",
            "Options of a question may be equal, the correct one too": "test_equal_options_are_kept",
            "An option may be empty": "test_an_empty_option_is_none",
            "The explanation is null or opens with the letter": "test_the_explanation_is_no_part_of_the_prompt",
            "The topic is null in many rows": "test_the_topic_may_be_absent",
            'Words have lost their "rt"': "test_words_are_kept_as_spelt",
        },
    ),
    "medqa": (
        "tests/sources/test_medqa.py",
        {
            "The four and the five options of a question stand under other letters": "test_four_and_five_options_agree",
            "Case, findings and question are one text": "test_case_and_question_are_one_text",
            "Questions end in a quotation mark that nothing opened": "test_quotation_marks_stay_and_space_around_texts_goes",
            "Some questions ask about a picture that is not published": "test_questions_about_unpublished_pictures_are_kept",
            "meta_info is step1 or step2&3, and once stfep2&3": "test_the_step_is_kept_as_written",
            "metamap_phrases are cut wrongly in places": "test_phrases_are_kept_as_cut",
            "The question bank holds the test too": "test_the_question_bank_is_never_read",
        },
    ),
    "mimic_cxr": (
        "tests/sources/test_mimic_cxr.py",
        {
            "second split called validate": "test_splits_have_their_published_names_and_the_test_never_trains",
            "pictures share a study's report": "test_pictures_of_a_study_share_its_report",
            "blanks": "test_the_miniature_has_the_quirks_of_reports",
            "headers vary": "test_the_miniature_has_the_quirks_of_reports",
            "neither findings nor impression": "test_the_miniature_has_the_quirks_of_reports",
            "no header, or nothing told": "test_the_miniature_has_the_quirks_of_reports",
            "priors": "test_the_miniature_has_the_quirks_of_reports",
            "ViewPosition empty": "test_what_only_describes_may_be_absent",
            "labels uncertain, empty or absent": "test_labels_are_kept_as_published",
            "report or picture absent": "test_the_miniature_rejects_what_it_should",
        },
    ),
    "omnimedvqa": (
        "tests/sources/test_omnimedvqa.py",
        {
            "Files and folders with spaces in their names": "test_the_miniature_holds_the_oddities",
            "option_C and option_D absent, null or empty": "test_options_that_are_nothing_are_left_out",
            "Answers that differ from their option in case or in a full stop": "test_answers_are_matched_loosely",
            "The options of one question may be equal": "test_of_equal_options_the_first_is_the_answer",
            "Records of one file that say modality": "test_a_modality_under_another_name_is_kept",
            "The same file name in two folders of pictures": "test_a_picture_of_the_same_name_is_not_taken_for_another",
            "Several questions on one picture; one tiny and blank; one that other sets publish too": "test_the_miniature_holds_the_oddities",
            "The restricted part names pictures that are not in the zip": "test_restricted_pictures_are_the_users_to_supply",
            "Records in an order that is kept everywhere": "test_the_miniature_holds_the_oddities",
        },
    ),
    "pathvqa": (
        "tests/sources/test_pathvqa.py",
        {
            "A picture is named by its bytes": "test_a_picture_is_named_by_its_bytes",
            "The questions on one picture are scattered over the shards": "test_the_questions_on_a_picture_are_scattered",
            "Pictures are JPEG in CMYK": "test_pictures_come_in_all_encodings",
            "Half the answers are yes or no": "test_half_the_answers_are_yes_or_no",
            "Questions are in lower case, made by rule": "test_questions_are_kept_as_they_are_written",
            "The same question and answer on the same picture twice": "test_a_triplet_comes_twice",
        },
    ),
    "pmc_oa": (
        "tests/sources/test_pmc_oa.py",
        {
            "lines in another order than the archive": "test_the_miniature_holds_the_oddities",
            "several captions for a picture, one caption for several": "test_one_picture_with_two_captions_is_two_samples",
            "the beta list's whole captions": "test_the_beta_list_alone_repeats_whole_captions",
            "absent pictures, two names, another encoding": "test_the_miniature_holds_the_oddities",
            "a figure of VQA-RAD's test": "test_the_miniature_holds_the_oddities",
            "colour, gray and CMYK": "test_the_miniature_holds_the_oddities",
            "the article as a field of the beta list": "test_the_beta_list_alone_repeats_whole_captions",
        },
    ),
    "pmc_vqa": (
        "tests/sources/test_pmc_vqa.py",
        {
            "options carry their letter and spaces": "test_letters_go_where_all_options_carry_their_own",
            "the answer is the option of the label": "test_the_label_says_which_option_is_the_answer",
            "an option may be empty": "test_an_empty_option_is_none",
            "Anwser, train2.csv, images2.zip": "test_other_spellings_are_the_same_layout",
            "version 2: the answer is a letter, and a caption": "test_version_2_is_read_where_it_is_alone",
            "rows of the clean test are rows of the test": "test_rows_of_the_clean_test_are_marked_and_never_doubled",
            "several questions, compound figures, commas and line breaks": "test_the_miniature_holds_the_oddities",
            "an absent picture, a picture that PMC-OA publishes too": "test_the_miniature_holds_the_oddities",
            "articles of several licences, one not listed": "test_a_question_has_the_licence_of_its_article",
        },
    ),
    "pneumonia_mnist": (
        "tests/benchmarks/test_pneumonia_mnist.py",
        {
            "Three of four pictures show pneumonia": "test_the_miniature_has_what_is_odd_and_can_be_learned",
            "Labels are a column": "test_the_miniature_has_what_is_odd_and_can_be_learned",
        },
    ),
    "pubmedqa": (
        "tests/sources/test_pubmedqa.py",
        {
            "PQA-A knows no maybe and is mostly yes": "test_the_artificial_part_knows_no_maybe",
            "PQA-U has no decisions": "test_records_of_the_unlabeled_part_are_rejected_one_by_one",
            "YEAR is null in some records": "test_the_year_may_be_null",
            "The decision is spelt final_decision": "test_a_record_is_kept_whole",
        },
    ),
    "retina_mnist": (
        "tests/benchmarks/test_medmnist.py",
        {
            "classes are grades called by their number": "test_classes_are_called_as_published",
            "almost half of the eyes have grade 0": "test_classes_are_of_unequal_size",
        },
    ),
    "roco": (
        "tests/sources/test_roco.py",
        {
            "A caption begins with a space": "test_a_record_is_kept_whole",
            "A caption may be one word, or empty": "test_captions_of_a_word_are_kept_and_empty_ones_rejected",
            "A caption may go on in the next line": "test_a_caption_may_go_on_in_the_next_line",
            "Captions are repeated, and one in eight is not ASCII": "test_captions_are_repeated_and_not_all_ascii",
            "The second field is always empty; some records have no concept": "test_the_second_field_is_empty",
            "Records without a licence, NO-CC CODE, ND and NC": "test_each_sample_bears_its_own_licence",
            "Pictures are called by ROCO id or by article and figure": "test_pictures_may_bear_either_name",
            "Articles of the test also train": "test_articles_stand_in_train_and_test",
            "Pictures in radiology and in non-radiology": "test_a_picture_in_both_subsets_has_one_name",
            "Pictures that can't be had any more": "test_a_picture_that_is_absent_is_rejected",
            "A figure that PMC-OA publishes too": "test_a_figure_is_in_pmc_oa_too",
        },
    ),
    "slake": (
        "tests/sources/test_slake.py",
        {
            "half of the rows are Chinese": "test_other_languages_are_rejected_or_let_in_by_the_dial",
            "validation.json or validate.json": "test_other_names_of_the_same_layout_are_read",
            "every picture is called source.jpg": "test_a_picture_is_found_by_its_folder_and_never_by_its_last_part_alone",
            "masks and more beside each picture": "test_masks_and_detections_are_no_pictures_of_samples",
            "kvqa needs the knowledge graph": "test_a_record_is_kept_whole",
            "CLOSED answers besides yes and no": "test_the_miniature_holds_the_oddities",
            "a row without an answer, questions twice": "test_the_miniature_holds_the_oddities",
            "pictures that other sets publish": "test_the_miniature_shares_a_picture_with_other_sets",
        },
    ),
    "ubench": (
        "tests/sources/test_ubench.py",
        {
            "One split, called test": "test_a_question_is_kept_whole",
            "An entry that a row does not have is null": "test_null_entries_are_no_records",
            "answer_idx is a text in captions and a number in questions": "test_the_place_of_the_answer_counts_from_0",
            'The last option is "none of the above"': "test_none_of_the_above_answers_a_question_but_is_no_caption",
            "One picture, one image_id, in rows of several datasets": "test_a_picture_may_stand_in_rows_of_several_datasets",
            "dataset is null in some rows, pmid in many": "test_what_only_describes_may_be_null",
            "The licence differs by row; synthetic pictures": "test_the_licence_is_the_rows_own",
            "label disagrees with label_name": "test_a_label_that_disagrees_is_not_read",
            "bbox and polygon are null in most rows; instances": "test_outlines_are_counted_in_both_revisions",
            "Pictures that other sets publish too": "test_the_miniature_holds_the_oddities",
        },
    ),
    "vqa_med_2019": (
        "tests/sources/test_vqa_med_2019.py",
        {
            "four fields against three": "test_a_reference_of_the_test_has_four_fields",
            "# between answers that are all right": "test_alternatives_and_optional_parts",
            "(...) may be left out": "test_alternatives_and_optional_parts",
            "images without their ending": "test_a_picture_is_found_without_its_ending",
            "the category in files of their own": "test_categories_come_from_their_files",
            "a zip within the test's zip": "test_other_places_of_the_same_files_are_read",
            "fewer than four questions, templates": "test_the_miniature_holds_the_oddities",
            "line ends": "test_line_ends_are_no_part_of_a_record",
            "the pictures of VQA-RAD": "test_a_picture_of_vqa_rad_is_among_them",
        },
    ),
    "vqa_rad": (
        "tests/sources/test_vqa_rad.py",
        {
            "Split by phrase_type": "test_the_miniature_holds_the_oddities",
            "Split by question, not by picture": "test_the_miniature_holds_the_oddities",
            'Answers that are integers; "CLOSED " with a space; a qid that is a text': "test_answers_become_text",
            "question_rephrase absent or NULL; question_type as a list or misspelt": "test_the_miniature_holds_the_oddities",
            "The same question and answer on the same picture under two ids": "test_the_miniature_holds_the_oddities",
            "One picture in the folder that no question names": "test_the_miniature_holds_the_oddities",
        },
    ),
}


def test_every_set_with_quirks_is_in_the_table() -> None:
    assert set(QUIRKS) == {set_id for set_id, found in SETS.items() if "What is odd" in (found.__doc__ or "")}


@pytest.mark.parametrize("set_id", sorted(QUIRKS))
def test_every_quirk_of_the_docstring_is_met(set_id: str) -> None:
    module, quirks = QUIRKS[set_id]
    text = (SETS[set_id].__doc__ or "").partition("What is odd")[2]
    assert 0 < text.count("\n- ") <= len(quirks), "a line of the table, or more, for each bullet"
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    tests = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert set(quirks.values()) <= tests
