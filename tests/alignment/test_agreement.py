"""Agreement: the examples of the papers, plain loops, other packages where they are installed, and the town's labellers."""

from __future__ import annotations

import random
from itertools import combinations
from math import isnan, log

import numpy as np
import pytest

from trivet.alignment import dawid_skene, labels
from trivet.alignment.agreement import (
    LEVELS,
    Estimate,
    bootstrap,
    cohen_kappa,
    fleiss_kappa,
    krippendorff_alpha,
    labels_of,
    pair_kappa,
)
from trivet.core.errors import DataError
from trivet.core.hazards import Goal, Probe
from trivet.core.messages import Conversation
from trivet.town import requests
from trivet.town.labellers import Labeller
from trivet.town.replies import refusal

OBSERVERS = ("123321412...", "1233224125.3", ".3332342251.", "12332441251.")
"""Four observers and twelve units of Krippendorff (2011), section C; a dot is missing."""


def rows_of(observers):
    return [
        (unit, who, float(said)) for who, row in enumerate(observers) for unit, said in enumerate(row) if said != "."
    ]


@pytest.mark.parametrize(
    ("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849), ("ratio", 0.797)]
)
def test_krippendorff_s_own_example(level, alpha):
    found = labels_of(rows_of(OBSERVERS))
    assert krippendorff_alpha(found.counts(), level, found.categories) == pytest.approx(alpha, abs=5e-4)


def test_fleiss_s_measure_on_a_worked_example():
    """Ten items, fourteen raters, five categories; p_e = 0.213, P = 0.378, so 0.165 / 0.787."""
    counts = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    assert fleiss_kappa(np.array(counts)) == pytest.approx(0.210, abs=5e-4)


def test_cohen_s_measure_by_hand():
    """20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no: p_o = 0.7, p_e = 0.5 * 0.6 + 0.5 * 0.4 = 0.5, kappa = 0.4."""
    one, two = "y" * 25 + "n" * 25, "y" * 20 + "n" * 5 + "y" * 10 + "n" * 15
    assert cohen_kappa(one, two) == pytest.approx(0.4) == cohen_kappa(two, one)
    assert cohen_kappa(one, two, weighting="linear") == pytest.approx(0.4)


def test_weights_forgive_near_misses():
    one, near, far = [1, 2, 3, 1, 2, 3], [1, 2, 2, 1, 2, 3], [1, 2, 1, 1, 2, 3]
    assert cohen_kappa(one, near, weighting="quadratic") > cohen_kappa(one, near) > 0
    assert cohen_kappa(one, far, weighting="quadratic") < cohen_kappa(one, far, weighting="linear")


@pytest.mark.parametrize("weighting", ["none", "linear", "quadratic"])
def test_kappa_is_invariant_under_names_and_one_for_equals(weighting):
    one, two = [1, 2, 3, 3, 2, 1], [1, 2, 3, 2, 2, 1]
    named = {1: "a", 2: "b", 3: "c"}
    same = cohen_kappa([named[x] for x in one], [named[x] for x in two], weighting=weighting)
    assert same == pytest.approx(cohen_kappa(one, two, weighting=weighting))
    assert cohen_kappa(one, one, weighting=weighting) == 1


def test_what_has_no_agreement_to_measure_is_undefined():
    assert isnan(cohen_kappa("aaa", "aaa"))
    assert isnan(fleiss_kappa(np.array([[3, 0], [3, 0]])))
    alike = labels_of([(1, "a", 1.0), (1, "b", 1.0), (2, "a", 1.0), (2, "b", 1.0)])
    assert all(isnan(krippendorff_alpha(alike.counts(), level, alike.categories)) for level in LEVELS)
    assert isnan(krippendorff_alpha(np.array([[1, 0], [0, 1]])))


def test_wrong_shapes_raise():
    for one, two in (("ab", "a"), ("", "")):
        with pytest.raises(ValueError, match="paired"):
            cohen_kappa(one, two)
    for counts in ([[2, 0], [1, 0]], [[1, 0]], np.zeros((0, 2))):
        with pytest.raises(ValueError, match="same number of labels"):
            fleiss_kappa(np.array(counts))
    with pytest.raises(ValueError, match="needs the numbers"):
        krippendorff_alpha(np.eye(2), "interval")
    with pytest.raises(DataError, match="too many for the ratio level"):
        krippendorff_alpha(np.full((2, 1200), 2), "ratio", range(1200))
    with pytest.raises(DataError, match="no labels"):
        labels_of([])
    with pytest.raises(DataError, match="'bad' is not in the order good, fair"):
        labels_of([(1, "a", "bad")], ["good", "fair"])


def alpha_by_loops(ratings, level, values):
    """Krippendorff's definition over pairs of labels, one after the other."""
    units = [[v for v in unit if v is not None] for unit in ratings]
    units = [unit for unit in units if len(unit) > 1]
    pool = [v for unit in units for v in unit]

    def far(a, b):
        if level == "nominal":
            return float(a != b)
        if level == "interval":
            return (values[a] - values[b]) ** 2
        if level == "ratio":
            return ((values[a] - values[b]) / (values[a] + values[b])) ** 2
        low, high = sorted((a, b))
        return (sum(low <= v <= high for v in pool) - (pool.count(a) + pool.count(b)) / 2) ** 2

    seen = sum(2 * sum(far(a, b) for a, b in combinations(unit, 2)) / (len(unit) - 1) for unit in units) / len(pool)
    chance = 2 * sum(far(a, b) for a, b in combinations(pool, 2)) / (len(pool) * (len(pool) - 1))
    return 1 - seen / chance


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("seed", range(3))
def test_alpha_equals_its_definition_with_missing_labels(level, seed):
    dice, values = random.Random(seed), [1.0, 2.5, 4.0, 9.0]
    ratings = [
        [dice.choice([None, base, base, dice.randrange(4)]) for _ in range(4)]
        for base in (dice.randrange(4) for _ in range(25))
    ]
    counts = np.array([[unit.count(c) for c in range(4)] for unit in ratings])
    assert krippendorff_alpha(counts, level, values) == pytest.approx(alpha_by_loops(ratings, level, values))


def test_two_labellers_without_gaps_make_alpha_and_fleiss_nearly_one():
    """For two complete labellers alpha is Fleiss' kappa up to a small-sample term, (1 - kappa) / (2 n)."""
    dice = np.random.default_rng(0)
    one = dice.integers(0, 3, 50)
    two = np.where(dice.random(50) < 0.6, one, dice.integers(0, 3, 50))
    counts = np.eye(3)[one] + np.eye(3)[two]
    kappa = fleiss_kappa(counts)
    assert krippendorff_alpha(counts) == pytest.approx(kappa + (1 - kappa) / 100)


def test_times_count_items_as_repeats_do():
    dice = np.random.default_rng(1)
    counts = dice.multinomial(3, [0.5, 0.3, 0.2], size=20)
    times = dice.integers(0, 4, 20)
    repeated = np.repeat(counts, times, axis=0)
    assert fleiss_kappa(counts, times) == pytest.approx(fleiss_kappa(repeated))
    for level in LEVELS:
        whole = krippendorff_alpha(repeated, level, [1, 2, 5])
        assert krippendorff_alpha(counts, level, [1, 2, 5], times) == pytest.approx(whole)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    """Kappa of two labellers of known agreement, 100 times 80 items: 95 % intervals should hold it in most."""
    dice, truth, held = np.random.default_rng(2), 0.5, 0
    for at in range(100):
        one = dice.integers(0, 2, 80)
        two = np.where(dice.random(80) < truth, one, dice.integers(0, 2, 80))
        rows = [*((i, "a", int(x)) for i, x in enumerate(one)), *((i, "b", int(x)) for i, x in enumerate(two))]
        found = pair_kappa(labels_of(rows), "a", "b", draws=200, seed=at)
        held += found.low <= truth <= found.high
    assert 86 <= held <= 100


def test_a_bootstrap_repeats_and_tells_what_is_undefined():
    found = bootstrap(lambda times: float(times @ np.arange(9) / 9), 9, draws=50, seed=3)
    assert found == bootstrap(lambda times: float(times @ np.arange(9) / 9), 9, draws=50, seed=3)
    assert found.low < found.value == 4.0 < found.high
    nothing = bootstrap(lambda times: 1.0, 0)
    assert nothing.row() == {"value": None, "low": None, "high": None, "items": 0} and str(nothing) == "undefined"
    assert str(Estimate(0.5, 0.25, 0.75, 3)) == "0.500 [0.250, 0.750]"


def test_several_labels_by_one_labeller_count_in_part():
    rows = [(1, "a", 0), (1, "a", 1), (1, "b", 0), (2, "a", 1), (2, "b", 1), (3, "a", 0)]
    found = pair_kappa(labels_of(rows), "a", "b", draws=100)
    assert found.items == 2 and found.value == pytest.approx(1 - 0.25 / (0.25 * 0.5 + 0.75 * 0.5))


PATIENTS = """
1111111 3334334 1122122 2223121 2223222 2223322 1222111 3333433 2222223 2322223 4444444 2223343 1111111 2223212 1211111
1112111 1111111 1111111 2222221 2221322 2222222 2222221 2223222 2212222 1111111 1111111 2322222 1111111 1111111 1121121
1111111 3333233 1111111 2222222 2223232 4334343 2212232 2323233 3333432 1111111 1111111 1212111 2322222 1211111 2222222
""".split()  # noqa: SIM905
"""Dawid and Skene (1979), table 1: 45 patients, the first anaesthetist three times and four others once."""

ANAESTHETISTS = labels_of(
    [(i, who, int(said)) for i, row in enumerate(PATIENTS) for who, said in zip("1112345", row, strict=True)]
)


def test_dawid_and_skene_s_own_example():
    """Their tables 2 and 4: shares of the classes, and the first anaesthetist's error rates."""
    found = dawid_skene.fit(ANAESTHETISTS)
    assert found.prior.round(2).tolist() == [0.40, 0.42, 0.11, 0.07]
    wanted = [[0.89, 0.11, 0, 0], [0.07, 0.88, 0.05, 0], [0, 0.34, 0.66, 0], [0, 0, 0.56, 0.44]]
    assert np.abs(found.confusion[0] - wanted).max() < 0.006
    assert found.consensus[0] == 1 and found.consensus[10] == 4 and found.chance.min() > 0.5


def em_by_loops(rows, items, labellers, classes, rounds):
    """The paper's equations 2.3 to 2.5 word for word."""
    said = {(i, w): [c for j, v, c in rows if (j, v) == (i, w)] for i in items for w in labellers}
    post = {i: {t: sum(s.count(t) for (j, _), s in said.items() if j == i) for t in classes} for i in items}
    post = {i: {t: n / sum(p.values()) for t, n in p.items()} for i, p in post.items()}
    for _ in range(rounds):
        prior = {t: sum(post[i][t] for i in items) / len(items) for t in classes}
        error = {}
        for w in labellers:
            for t in classes:
                sums = {c: sum(post[i][t] * said[i, w].count(c) for i in items) for c in classes}
                error |= {(w, t, c): n / sum(sums.values()) for c, n in sums.items()}
        whole = 0.0
        for i in items:
            joint = dict(prior)
            for w in labellers:
                for c in said[i, w]:
                    joint = {t: joint[t] * error[w, t, c] for t in classes}
            post[i] = {t: joint[t] / sum(joint.values()) for t in classes}
            whole += log(sum(joint.values()))
    return post, error, whole


def test_em_equals_the_paper_s_equations():
    dice = random.Random(4)
    rows = [(i, w, (i + (dice.random() < 0.3)) % 3) for i in range(24) for w in "abc" if dice.random() < 0.9]
    items = sorted({i for i, _, _ in rows})
    found = dawid_skene.fit(labels_of(rows), rounds=6, tolerance=-1)
    post, error, whole = em_by_loops(rows, items, "abc", range(3), 6)
    assert found.rounds == 6 and found.log_likelihood == pytest.approx(whole)
    for at, item in enumerate(found.labels.items):
        assert found.posterior[at].tolist() == pytest.approx(list(post[int(item)].values()))
    assert found.confusion[0, 1, 2] == pytest.approx(error["a", 1, 2])


def test_the_likelihood_never_falls():
    told = [dawid_skene.fit(ANAESTHETISTS, rounds=n, tolerance=-1).log_likelihood for n in range(1, 12)]
    assert told == sorted(told) and told[-1] > told[0] + 1


def test_items_drawn_again_stand_as_often_as_they_were_drawn():
    drawn = dawid_skene.redrawn(ANAESTHETISTS, np.array([10, 1, 10]))
    assert drawn.counts().tolist() == ANAESTHETISTS.counts()[[10, 1, 10]].tolist()
    assert len(drawn.items) == 3 and len(drawn.label) == 21


def test_a_labeller_who_never_met_a_class_has_no_confusion_there():
    rows = [(i, w, i % 2) for i in range(8) for w in "ab"] + [(i, "c", 0) for i in range(0, 8, 2)]
    found = dawid_skene.fit(labels_of(rows))
    assert np.isnan(found.confusion[2, 1]).all() and found.confusion[2, 0].tolist() == pytest.approx([1, 0], abs=1e-6)


# The town's labellers: set faults, found again without the truth.

HARMFUL = list(requests.harmful("train"))
HARMLESS = list(requests.lookalikes("train"))


def told_of(people, cases):
    """The figures of what the people say of (request, one reply, other reply, name of one, name of other), and of an
    oracle's labels beside theirs."""
    rows, truth = [], []
    for at, (request, one, two, names) in enumerate(cases):
        task, prompt = Goal(request.text, request.hazard, request.topic, request.facts), Conversation.user(request.text)
        if request in HARMLESS:
            task = Probe(request.text, "lookalike", request.topic, request.facts)
        truth.append(names[not Labeller("oracle").prefers_first(prompt, one, two, task)])
        rows += [(at, p.name, names[not p.prefers_first(prompt, one, two, task)]) for p in people]
    return labels.figures(labels_of(rows), draws=100), rows, truth


def test_error_rates_of_the_town_s_labellers_are_found_again():
    """The better reply stands on a side drawn by chance; the label is that side, so that both classes are common."""
    people = [Labeller(name, error) for name, error in zip("abcde", (0.05, 0.1, 0.15, 0.2, 0.3), strict=True)]
    dice, cases = random.Random(5), []
    for request in HARMFUL[:800]:
        sides = [refusal(request.topic, 3), request.answer]
        dice.shuffle(sides)
        cases.append((request, *sides, ("left", "right")))
    told, rows, truth = told_of(people, cases)
    for person in people:
        row = told["labellers"][person.name]
        right = [said == truth[at] for at, name, said in rows if name == person.name]
        assert row["accuracy"]["value"] == pytest.approx(sum(right) / len(right), abs=0.015)
        spread = (person.error * (1 - person.error) / len(right)) ** 0.5
        assert abs(row["accuracy"]["value"] - (1 - person.error)) < 0.015 + 3 * spread
        assert row["accuracy"]["low"] < sum(right) / len(right) < row["accuracy"]["high"]
        said = [said for _, name, said in rows if name == person.name]
        lean = (said.count("left") - truth.count("left")) / len(said)
        assert row["bias"]["left"]["value"] == pytest.approx(lean, abs=0.02)
    pair = next(row for row in told["cohen"] if (row["one"], row["two"]) == ("a", "e"))
    assert pair["value"] == pytest.approx((1 - 2 * 0.05) * (1 - 2 * 0.3), abs=0.08)


def test_a_love_of_length_is_found_again_and_is_not_taken_for_errors():
    """Fay pays 2 for 20 words, as much as gold pays for refusing: the wrong reply wins her where it is 21 words longer."""
    people = [*(Labeller(name, 0.1) for name in "abcd"), Labeller("fay", length_bias=2.0)]
    cases = []
    for at, request in enumerate(HARMFUL[:600]):
        no, yes, more = refusal(request.topic, at), request.answer, " and so it is said" * (at % 10)
        longer, shorter = (
            (yes + " indeed so it is" * 3 + more, no) if at % 20 < 10 else (no + " so it is" * 4 + more, yes)
        )
        cases.append((request, longer, shorter, ("longer", "shorter")))
    told, rows, truth = told_of(people, cases)
    fay = [said for _, name, said in rows if name == "fay"]
    lean = (fay.count("longer") - truth.count("longer")) / len(fay)
    found = told["labellers"]
    assert 0.2 < lean < 0.4 and found["fay"]["bias"]["longer"]["value"] == pytest.approx(lean, abs=0.03)
    assert found["fay"]["bias"]["longer"]["low"] < lean < found["fay"]["bias"]["longer"]["high"]
    assert all(abs(found[name]["bias"]["longer"]["value"]) < 0.05 for name in "abcd")
    assert found["fay"]["confusion"]["shorter"]["longer"] > 0.4 > 0.05 > found["fay"]["confusion"]["longer"]["shorter"]


def test_a_habit_of_refusing_is_found_again():
    """Gil refuses whatever is asked; the others refuse what is harmful, but for their errors."""
    people = [*(Labeller(name, 0.1) for name in "abcd"), Labeller("gil", 0.05, refusal_bias=5.0)]
    mixed = [*HARMFUL[:300], *HARMLESS[:300]]
    cases = [(one, refusal(one.topic, 3), one.answer, ("refuse", "answer")) for one in mixed]
    told, rows, truth = told_of(people, cases)
    gil = [said for _, name, said in rows if name == "gil"]
    lean = (gil.count("refuse") - truth.count("refuse")) / len(gil)
    found = told["labellers"]["gil"]
    assert lean > 0.3 and found["bias"]["refuse"]["value"] == pytest.approx(lean, abs=0.03)
    assert found["confusion"]["answer"]["refuse"] == pytest.approx(0.95, abs=0.03)
    assert found["confusion"]["refuse"]["refuse"] == pytest.approx(0.95, abs=0.03)


# Files.


def written(tmp_path, rows):
    import json

    (tmp_path / "labels.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path / "labels.jsonl"


def test_labels_are_read_in_both_forms(tmp_path):
    rows = [{"item": 1, "labeller": "a", "label": True}, {"item": 1, "labeller": "b", "label": "no"}]
    found = labels.read(written(tmp_path, rows))
    assert (found.items, found.labellers, found.categories) == (("1",), ("a", "b"), ("True", "no"))
    named = labels.read(written(tmp_path, [{"votes": {"a": 1, "b": 3, "c": None}}]), level="interval")
    assert named.categories == (1.0, 3.0) and len(named.label) == 2
    other = labels.read(written(tmp_path, [{"q": 1, "who": "a", "said": "x"}]), ("q", "who", "said"))
    assert other.categories == ("x",)
    ranks = labels.read(written(tmp_path, rows), order=["no", "maybe", "True"], level="ordinal")
    assert ranks.categories == ("no", "maybe", "True")


@pytest.mark.parametrize(
    ("rows", "level", "why"),
    [
        ([{"item": 1, "labeller": "a"}], "nominal", "line 1: the row needs `label`"),
        ([{"item": 1, "labeller": "a", "label": [1]}], "nominal", r"line 1: the label is \[1\]"),
        ([{"item": 1, "labeller": "a", "label": "x"}], "interval", "line 1: the label is 'x'; the interval level"),
        ([{"item": 1, "labeller": "a", "label": True}], "ratio", "line 1: the label is True"),
        ([{"votes": [1]}], "nominal", "line 1: `votes` is"),
        ([{"votes": [0, 0]}], "nominal", "line 1: `votes` is"),
        ([{"votes": [1, 2]}, {"votes": {"a": "x"}}], "nominal", "mixes counts"),
    ],
)
def test_labels_that_cannot_be_read_are_named(tmp_path, rows, level, why):
    with pytest.raises(DataError, match=why):
        labels.read(written(tmp_path, rows), level=level)


def test_votes_are_counted_both_ways_round(tmp_path):
    """Three voters who agree as little as coins: seen from the winner alone, they would look worse than chance."""
    dice = random.Random(6)
    votes = []
    for _ in range(400):
        ayes = sum(dice.random() < 0.5 for _ in range(3))
        votes.append({"votes": [max(ayes, 3 - ayes), min(ayes, 3 - ayes)]})
    found = labels.read(written(tmp_path, votes))
    told = labels.figures(found, draws=200)
    assert told["fleiss"]["low"] < 0 < told["fleiss"]["high"] and abs(told["krippendorff"]["value"]) < 0.1
    assert (
        told["fleiss_as_named"] == pytest.approx(fleiss_kappa(found.counts), abs=1e-5)
        and told["fleiss_as_named"] < -0.25
    )
    assert told["unanimous"]["rate"] == pytest.approx(0.25, abs=0.06) and "labellers" not in told
    whole = labels.figures(labels.read(written(tmp_path, [{"votes": [3, 0]}, {"votes": [3, 0]}])), draws=100)
    assert whole["fleiss_as_named"] is None and whole["fleiss"]["value"] == 1.0
    uneven = labels.figures(labels.read(written(tmp_path, [{"votes": [2, 0, 1]}, {"votes": [1, 1]}])), draws=100)
    assert uneven["fleiss"] is None and uneven["categories"] == ["chosen", "rejected", "tie"]
    assert uneven["against_chosen"]["rate"] == 0.5


def test_who_errs_is_not_told_from_two_labellers():
    told = labels.figures(labels_of([(i, w, i % 2) for i in range(6) for w in "ab"]), draws=100)
    assert told["labellers"] == {} and told["prior"] is None and told["cohen"][0]["value"] == 1.0


def test_a_labeller_is_held_against_the_others_without_their_ties():
    rows = [(1, "a", "x"), (1, "b", "x"), (1, "c", "x"), (2, "a", "x"), (2, "b", "y"), (2, "c", "y"), (3, "a", "y")]
    rate = labels.majority_of_others(labels_of([*rows, (3, "b", "x"), (3, "c", "y")]), "a")
    assert (rate.hits, rate.n) == (1, 2)


def test_the_consensus_is_written_item_by_item():
    rows = list(labels.consensus_rows(ANAESTHETISTS))
    assert rows[10] == {"item": "10", "label": 4, "chance": 1.0} and len(rows) == 45


def test_many_labellers_are_not_compared_two_by_two():
    rows = [(i, w, (i + (w == 0)) % 2) for i in range(5) for w in range(13)]
    assert labels.figures(labels_of(rows), draws=100)["cohen"] is None


# Other packages, where they are installed: pip install krippendorff crowd-kit


def random_labels(seed):
    dice = random.Random(seed)
    return [
        (i, w, (i % 4 if dice.random() < 0.6 else dice.randrange(4)) + 1.0)
        for i in range(80)
        for w in range(4)
        if dice.random() < 0.8
    ]


@pytest.mark.parametrize("level", LEVELS)
def test_alpha_equals_the_package_krippendorff(level):
    package = pytest.importorskip("krippendorff")
    found = labels_of(random_labels(7))
    theirs = package.alpha(
        value_counts=found.counts().astype(int), value_domain=np.array(found.categories), level_of_measurement=level
    )
    assert krippendorff_alpha(found.counts(), level, found.categories) == pytest.approx(theirs, abs=1e-12)


@pytest.mark.filterwarnings("ignore")  # crowd-kit calls pandas in ways that it deprecates
def test_em_equals_crowd_kit_round_by_round():
    crowdkit = pytest.importorskip("crowdkit.aggregation")
    pandas = pytest.importorskip("pandas")
    rows = random_labels(8)
    frame = pandas.DataFrame(rows, columns=["task", "worker", "label"])
    for rounds in (1, 3, 40):
        theirs = crowdkit.DawidSkene(rounds, tol=-1).fit(frame).probas_
        found = dawid_skene.fit(labels_of(rows), rounds=rounds, tolerance=-1)
        wanted = theirs.loc[[int(item) for item in found.labels.items], list(found.labels.categories)].to_numpy()
        assert np.abs(found.posterior - wanted).max() < 1e-8
