"""CSV files of scores and ratings: what they may hold, how their rows meet, and what is refused."""

import math

import numpy as np
import pytest

from editbench.errors import UserError
from editbench.ratings.pairing import pair_up
from editbench.ratings.tables import Table, read_table

NAN = math.nan


@pytest.fixture
def table(tmp_path):
    def write(name, *lines, needed=("sample_id",), encoding="utf-8"):
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", encoding=encoding)
        return read_table(path, needed)

    return write


def human(table, *lines, **options):
    return table("human.csv", *lines, needed=("sample_id", "rater"), **options)


def test_rows_meet_by_model_and_sample_in_any_order(table):
    judge = table("judge.csv", "score,sample_id,model", "1,a,M", "2.5,b,M", "3,a,N", ",b,N", encoding="utf-8-sig")
    people = human(
        table, "model,sample_id,rater,score", "N,a,x,30", "M,b,x,20", "M,a,y,11", "M,a,x,10", "M,c,x,5", "N,b,y,"
    )
    paired = pair_up(judge, people, [])
    items = paired.scores["score"]
    assert paired.raters == ["x", "y"] and paired.clustered_by == "sample_id"
    assert items.model == ["M", "M", "N", "N", "M"]
    np.testing.assert_array_equal(items.judge, [1, 2.5, 3, NAN, NAN])
    np.testing.assert_array_equal(items.raters, [[10, 11], [20, NAN], [30, NAN], [NAN, NAN], [5, NAN]])
    assert list(items.cluster) == [0, 1, 0, 1, 2], "edits of one sample are one cluster, whoever made them"


def test_a_list_counts_by_its_smallest_and_overall_is_the_geometric_mean(table):
    judge = table(
        "judge.csv",
        "sample_id,sc_scores,pq_scores,why",
        'a,"[9, 4]","[1, 8]","good, but"',
        'b,"[0.5]","[8, 2]",x',
        "c,null,7,x",
        'd,"[1, null]","[]",x',
    )
    people = human(table, "sample_id,rater,pq,sc,why", "a,1,1,0.25,y", "b,1,0,1,y", "c,1,,1,y", "d,1,1,1,y")
    found = pair_up(judge, people, ["sc", "pq"]).scores
    assert list(found) == ["sc", "pq", "overall"], "a column of text holds no scores"
    np.testing.assert_array_equal(found["sc"].judge, [4, 0.5, NAN, NAN])
    np.testing.assert_array_equal(found["pq"].judge, [1, 2, 7, NAN])
    np.testing.assert_allclose(found["overall"].judge, [2, 1, NAN, NAN])
    np.testing.assert_allclose(found["overall"].raters[:, 0], [0.5, 0, NAN, 1])


@pytest.mark.parametrize(
    "cell",
    [
        *(
            "[" * 100_000,
            '"[1, ' + "9" * 400 + ']"',
            '"[1, ' + "9" * 5000 + ']"',
            "1_0",
            "\N{ARABIC-INDIC DIGIT SEVEN}",
        ),
        *("\N{FULLWIDTH DIGIT ONE}", "1e999", "nan", "-inf", "0x7", '"[true]"', '"[[1]]"', '"[1] 2"'),
    ],
)
def test_what_is_no_plain_finite_number_is_refused_in_a_sentence(table, cell):
    judge = table("judge.csv", "sample_id,score", "a,1", f"b,{cell}")
    with pytest.raises(UserError, match=r"line 3: score is '.{1,80}'; must be a number, a JSON list of numbers"):
        judge.numbers("score")


@pytest.mark.parametrize(
    ("cell", "number"), [("7", 7), (" 7.5 ", 7.5), ("-.5", -0.5), ("7.", 7), ("1e1", 10), ("+2", 2)]
)
def test_a_plain_number_is_read(table, cell, number):
    assert table("judge.csv", "sample_id,score", f"b,{cell}").numbers("score") == [number]


def test_edits_of_one_source_are_one_cluster(table):
    judge = table("judge.csv", "sample_id,source,score", "a,s1,1", "b,s1,2", "c,,3", "d,,4")
    people = human(table, "sample_id,rater,score,source", "a,1,1,", "b,1,2,", "c,1,3,s2", "d,1,4,")
    paired = pair_up(judge, people, [])
    assert list(paired.scores["score"].cluster) == [0, 0, 1, 2]
    assert paired.clustered_by == "source or sample_id"


def test_ratings_of_another_image_are_left_out_and_counted(table):
    judge = table("judge.csv", "sample_id,image_sha256,base_sha256,score", "a,11,b1,1", "b,22,,2", "c,,,3")
    head = "sample_id,rater,image_sha256,base_sha256,score"
    people = human(table, head, "a,x,11,b1,5", "a,y,11,b2,5", "b,x,23,,6", "b,x,22,b9,7", "c,x,99,,8", "a,z,,,4")
    paired = pair_up(judge, people, [])
    assert paired.of_another_image == 2
    np.testing.assert_array_equal(paired.scores["score"].raters, [[5, 4], [7, NAN], [8, NAN]])


@pytest.mark.parametrize(
    ("judge", "people", "words"),
    [
        (
            ["sample_id,score", "a,1"],
            ["sample_id,rater,score", "a,x,1", "a,x,2"],
            "line 3: 'a' has a score by rater 'x'",
        ),
        (["sample_id,score", "a,1", "a,1"], ["sample_id,rater,score", "a,x,1"], "line 3: 'a' has a score in line 2"),
        (["sample_id,score", "a,1"], ["sample_id,rater,score", "b,x,1"], "no edit has both a score"),
        (["sample_id,score", "a,1"], ["sample_id,rater,sc", "a,x,1"], "no score is in both"),
        (["sample_id,score", "a,1", "b,nan"], ["sample_id,rater,score", "a,x,1"], "judge.csv, line 3: score is 'nan'"),
        (["sample_id,score", "a,1"], ["sample_id,rater,score", "a,x,1", "b,x,good"], "line 3: score is 'good'"),
        (["sample_id,score", 'a,"[1, ""2""]"', "b,1"], ["sample_id,rater,score", "a,x,1"], "line 2: score is"),
        (["sample_id,score", "a,1"], ["sample_id,score", "a,1"], "has no column 'rater'"),
        (["sample_id,score", "a,1"], ["sample_id,rater,score", "a,,1"], "line 2 has no rater"),
        (["sample_id,score", "a,1"], ["sample_id,rater,score", "a,x"], "line 2 has 2 cells, the head line 3"),
        (["sample_id,score,score", "a,1,1"], ["sample_id,rater,score", "a,x,1"], "names a column twice"),
        (["sample_id,score", 'a,"1'], ["sample_id,rater,score", "a,x,1"], "cannot be read as CSV"),
        (["sample_id,score", "a,\N{DEGREE SIGN}"], ["sample_id,rater,score"], "cannot be read as CSV"),
        ([""], ["sample_id,rater,score"], "has no column 'sample_id'"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_line(table, judge, people, words):
    with pytest.raises(UserError) as raised:
        pair_up(table("judge.csv", *judge, encoding="latin-1"), human(table, *people), [])
    assert words in str(raised.value)


def test_overall_needs_both_scores_and_none_below_zero(table):
    judge = Table("judge", [2], {"sample_id": ["a"], "sc": [-1.0], "pq": [2.0]})
    people = human(table, "sample_id,rater,sc,pq", "a,x,1,1")
    for overall, words in ((["sc", "pq"], "a score is -1"), (["sc", "px"], "no score 'px' is in both")):
        with pytest.raises(UserError, match=words):
            pair_up(judge, people, overall)
