"""What a rate would be if the judge made no errors: the estimator of Rogan and Gladen (1978), with an honest interval.

A judge with sensitivity Se (of true successes, the share that it calls so) and specificity Sp (of true failures, the
share that it calls so) shows the rate q = Se p + (1 - Sp)(1 - p) where the truth is p; solved for p,
p = (q + Sp - 1) / (Se + Sp - 1). The interval is that of Lang and Reiczigel (2014, Preventive Veterinary Medicine
113:13), in which Se and Sp are themselves estimates from so many human labels; leaving that out makes a judge measured
on forty labels look as good as one measured on four thousand.

Where Se + Sp - 1 is 0.3 or less nothing is corrected and the reason is told: the judge then says so little that dividing
by it makes noise. So it is where the whole interval lies outside [0, 1]: then the card does not fit the target.

Not covered: a judge whose errors on this target's replies are others than on the labels that its card was made from
(calibrate it on some of your own), and errors that come in clusters of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import nan, sqrt

from trivet.core.stats import Z95, Rate
from trivet.core.stats_clusters import Share

LEAST = 0.3
"""Se + Sp - 1 (Youden's index) must exceed this."""


@dataclass(frozen=True, slots=True)
class Corrected:
    """A rate corrected for its judge's errors, or `why` it was not: then the rate is NaN and the interval says nothing."""

    rate: float
    low: float
    high: float
    why: str = ""

    def row(self) -> dict[str, float | str | None]:
        if self.why:
            return {"rate": None, "low": None, "high": None, "why": self.why}
        return {"rate": round(self.rate, 5), "low": round(self.low, 5), "high": round(self.high, 5)}

    def __str__(self) -> str:
        return f"not corrected: {self.why}" if self.why else f"{self.rate:.1%} [{self.low:.1%}, {self.high:.1%}]"


def corrected(seen: Share | Rate, sensitivity: Share | Rate, specificity: Share | Rate) -> Corrected:
    """The rate behind the one `seen`, given how the judge did on labels of people: a Share where these came from several
    sources, between which a judge's errors differ far more than within one.

    With n the (effective) number behind q, and every count a little drawn towards the middle (q' = (n q + z^2/2) /
    (n + z^2), Se' = (hits + 1) / (labels + 2), Sp' likewise), p' is Rogan and Gladen's estimate of these, the interval
    is p' + d +- z s, cut to [0, 1], with
    s^2 = (q'(1-q')/(n + z^2) + p'^2 Se'(1-Se')/(n_Se + 2) + (1-p')^2 Sp'(1-Sp')/(n_Sp + 2)) / (Se' + Sp' - 1)^2 and
    d = 2 z^2 (p' Se'(1-Se')/(n_Se + 2) - (1-p') Sp'(1-Sp')/(n_Sp + 2)).

    By hand: q = 0.3, Se = 0.9, Sp = 0.8: (0.3 - 0.2) / 0.7 = 0.1429. q = 0.1 with the same judge is below its false
    alarms: the estimate is cut to 0.
    """
    if not seen.n:
        return _not("nothing was measured")
    if not sensitivity.n or not specificity.n:
        return _not("the judge's card holds no sensitivity or no specificity; calibrate it")
    youden = sensitivity.rate + specificity.rate - 1
    if round(youden, 12) <= LEAST:  # 0.65 + 0.65 - 1 is 0.30000000000000004
        told = f"sensitivity {sensitivity.rate:.2f} and specificity {specificity.rate:.2f}"
        return _not(f"the judge says too little ({told}: their sum less 1 is {youden:.2f}, not above {LEAST})")
    low, high = _interval(seen.rate, _worth(seen), sensitivity, specificity)
    if low >= 1 or high <= 0:
        # No truth between 0 and 1 shows such a rate to this judge: it errs otherwise here than on its card.
        return _not(
            f"{seen.rate:.1%} were called successes, and a judge with this card calls {1 - specificity.rate:.1%} to "
            f"{sensitivity.rate:.1%} so whatever the truth is; calibrate it on replies of this target"
        )
    return Corrected(_cut((seen.rate + specificity.rate - 1) / youden), _cut(low), _cut(high))


def _worth(one: Share | Rate) -> float:
    """How many independent outcomes a rate rests on."""
    return one.effective if isinstance(one, Share) else float(one.n)


def _interval(q: float, n: float, sensitivity: Share | Rate, specificity: Share | Rate) -> tuple[float, float]:
    square = Z95 * Z95
    q = (n * q + square / 2) / (n + square)
    n_se, n_sp = _worth(sensitivity), _worth(specificity)
    se, sp = ((one.rate * of + 1) / (of + 2) for one, of in ((sensitivity, n_se), (specificity, n_sp)))
    youden = se + sp - 1
    p = (q + sp - 1) / youden
    from_se = se * (1 - se) / (n_se + 2)
    from_sp = sp * (1 - sp) / (n_sp + 2)
    middle = p + 2 * square * (p * from_se - (1 - p) * from_sp)
    half = Z95 * sqrt(q * (1 - q) / (n + square) + p * p * from_se + (1 - p) ** 2 * from_sp) / abs(youden)
    return middle - half, middle + half


def _not(why: str) -> Corrected:
    return Corrected(nan, nan, nan, why)


def _cut(value: float) -> float:
    return min(1.0, max(0.0, value))
