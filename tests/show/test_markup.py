"""Tables for papers: LaTeX that balances, and Markdown that keeps its cells."""

import re

import jax
import numpy as np
import pytest

import jaxsched as js
from jaxsched._lib.layout import Column, Layout
from jaxsched.show.markup import latex, markdown

ODD = r"my_rule|50% & #1 {a}^~<b> \x*`"
LAYOUT = Layout(
    title="2 instances of 41..59 requests\nof prompt_tokens",
    columns=[
        Column("rule", ["fcfs", ODD, "bound"]),
        Column("make-\nspan", ["1,234", "-12±0.5%***", ""]),
        Column("max_\nnum_\nseqs", ["-", "8..16", ""]),
    ],
    caption="± 95% t intervals",
    best_row=1,
    limit_row=2,
)


def test_latex_word_for_word():
    assert latex([LAYOUT]).split("\n") == [
        r"\begin{table}",
        r"\centering",
        r"\caption{2 instances of 41--59 requests. of prompt\_tokens. $\pm$ 95\% t intervals.}",
        r"\label{tab:2-instances-of-41-59-requests-of-prompt}",
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r" &  & max\_ \\",
        r" &  & num\_ \\",
        r"rule & makespan & seqs \\",
        r"\midrule",
        r"fcfs & $1{,}234$ & -- \\",
        r"\bfseries\boldmath my\_rule\textbar{}50\% \& \#1 \{a\}\textasciicircum{}"
        r"\textasciitilde{}\textless{}b\textgreater{} \textbackslash{}x*` & "
        r"\bfseries\boldmath $-12 \pm 0.5\%^{***}$ & \bfseries\boldmath 8--16 \\",
        r"\midrule",
        r"bound &  &  \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
        "",
    ]


def test_markdown_word_for_word():
    assert markdown([LAYOUT]).split("\n") == [
        r"2 instances of 41..59 requests. of prompt\_tokens.",
        "",
        r"| rule | makespan | max\_num\_seqs |",
        "| :-- | --: | --: |",
        "| fcfs | 1,234 | - |",
        r"| **my\_rule\|50% & \#1 {a}^\~\<b\> \\x\*\`** | **-12±0.5%\*\*\*** | **8..16** |",
        "| bound |  |  |",
        "",
        "± 95% t intervals.",
        "",
    ]


def balanced(text):
    """Cells of each LaTeX row; braces, dollars and environments have to match."""
    plain = re.sub(r"\\[\\{}$&%#_]", "", text)
    assert plain.count("{") == plain.count("}")
    assert plain.count("$") % 2 == 0
    assert re.findall(r"\\begin{(\w+)}", text) == re.findall(r"\\end{(\w+)}", text)[::-1]
    return {line.count(" & ") for line in text.split("\n") if line.endswith(r"\\")}


def backlogs():
    return js.workloads.uniform(jax.random.key(0), batch=6)


@pytest.fixture(scope="module")
def found():
    batch = backlogs()
    rules = {"first_come": "fcfs", "smallest": "smallest_volume", "same": "fcfs"}
    return js.compare(batch, rules, baseline="first_come")


def test_a_comparison_marks_what_differs_from_the_baseline(found):
    text = found.to_latex()
    assert len(balanced(text)) == 1
    cells = {line.split(" & ")[0]: line.split(" & ") for line in text.split("\n")}
    assert cells["same"][2] == r"$0\%$"
    assert cells[r"\bfseries\boldmath smallest"][2].endswith(r"\%^{***}$")
    assert "Holm-corrected over rules" in text
    assert r"first\_come" in text
    assert "***" not in str(found)


def test_a_tie_is_bold_throughout():
    same = js.compare(backlogs(), {"a": "smallest_volume", "b": "smallest_volume", "c": "fcfs"})
    text = same.to_latex(label="tab:rules")
    assert text.count(r"\bfseries\boldmath a") == text.count(r"\bfseries\boldmath b") == 1
    assert text.count(r"\bfseries\boldmath c") == 0
    assert "**b**" in same.to_markdown()
    assert r"\label{tab:rules}" in text
    with pytest.raises(ValueError, match="label is 'a}'; expected letters"):
        same.to_latex(label="a}")


def test_tests_are_in_the_records(found):
    test = found.test("mean_latency_rounds")
    assert list(test) == ["smallest", "same"]
    records = [each for each in found.records() if each["metric"] == "mean_latency_rounds"]
    assert [each["p_holm"] for each in records[1:]] == [each.p_holm for each in test.values()]
    assert np.isnan(records[0]["p_value"])
    assert found.to_dict()["rules"]["first_come"]["kv_use"]["p_holm"] is None
    assert found.test("p99_latency_rounds", "wilcoxon")["smallest"].p_value < 0.3


def test_without_pairs_there_are_no_marks(found):
    for others in ({"baseline": None}, {"metrics": {"first_come": found.metrics["first_come"]}}):
        text = js.Comparison(**{**vars(found), **others}).to_markdown()
        assert "Holm" not in text
    with pytest.raises(ValueError, match="there is no baseline"):
        js.Comparison(**{**vars(found), "baseline": None}).test("kv_use")


def test_plans_are_tables_too():
    inst = js.workloads.uniform(jax.random.key(0), batch=6)
    plan = js.plan_capacity(inst, ["fcfs", "smallest_volume"], ("mean", 150.0))
    assert len(balanced(plan.to_latex())) == 1
    assert plan.to_markdown().startswith("6 instances of 41..59 requests; mean latency at most")


def test_service_tables_are_one_float():
    reqs = js.Requests.from_arrays([[0.0, 0, 0]] * 3, [[50, 30, 20]] * 3, [[9, 2, 4]] * 3)
    server = js.Server(kv_capacity=160, max_num_batched_tokens=64)
    found = js.compare(reqs, ["fcfs", "shortest_prompt"], "fcfs", server=server)
    text = found.to_latex()
    balanced(text)
    assert text.count(r"\begin{table}") == 1
    assert text.count(r"\begin{tabular}") == 4
    assert "paired t tests over streams" in text
    assert found.to_markdown().count(":--") == 4
