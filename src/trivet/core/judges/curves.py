"""A logistic curve laid through a judge's scores: what moves the threshold of one half to where a target's replies part."""

from __future__ import annotations

import numpy as np
from scipy import optimize


def platt(scores: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Slope (not below nothing) and offset of the logistic curve through [n] scores, with Platt's smoothed targets."""
    positive, negative = int(truth.sum()), int((~truth).sum())
    target = np.where(truth, (positive + 1) / (positive + 2), 1 / (negative + 2))

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        z = theta[0] * scores + theta[1]
        error = 1 / (1 + np.exp(-np.clip(z, -60, 60))) - target
        return float(np.sum(np.logaddexp(0.0, z) - target * z)), np.array([error @ scores, error.sum()])

    found = optimize.minimize(
        loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=[(1e-3, None), (None, None)]
    )
    return float(found.x[0]), float(found.x[1])


def refitted(logits: np.ndarray, truth: np.ndarray, folds: np.ndarray, most: int | None = None) -> np.ndarray:
    """[n] logits on curves that never saw the row they are used on: each fold's is laid through the other folds' rows,
    or through `most` of them, drawn by the fold's number."""
    moved = np.array(logits, float)
    for fold in np.unique(folds).tolist():
        others = np.flatnonzero(folds != fold)
        if most and len(others) > most:
            others = np.random.default_rng(fold).choice(others, most, replace=False)
        slope, offset = platt(logits[others], truth[others]) if len(others) else (1.0, 0.0)
        moved[folds == fold] = slope * logits[folds == fold] + offset
    return moved
