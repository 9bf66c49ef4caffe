from openmedq.evaluation.metrics.baseline import MostFrequentAnswer


def test_falls_back_from_question_to_source_to_all() -> None:
    baseline = MostFrequentAnswer(["Is it large?", "Where?"])
    for source, question, answer in [
        ("a", "is it large", "Yes."),
        ("b", "Is it large?", "yes"),
        ("a", "other", "no"),
        ("a", "another", "no"),
        ("b", "third", "left lung"),
        ("b", "fourth", "left lung"),
        ("c", "fifth", "no"),
    ]:
        baseline.add(source, question, answer)
    assert baseline.answer("a", "Is it large?") == "yes"
    assert baseline.answer("b", "Where?") == "left lung"
    assert baseline.answer("z", "Where?") == "no"
    assert baseline.answer("z", "") == "no"
    assert [baseline.answer_of_source(source) for source in "abz"] == ["no", "left lung", "no"]


def test_ties_go_by_the_alphabet_and_no_training_knows_nothing() -> None:
    baseline = MostFrequentAnswer(["q"])
    assert baseline.answer("a", "q") == ""
    for answer in ("yes", "no"):
        baseline.add("a", "q", answer)
    assert baseline.answer("a", "q") == "no"
