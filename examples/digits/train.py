"""Trains a classifier on scikit-learn's bundled 8x8 images of handwritten digits and scores it on held-out images.

Run it: `python train.py`. Everything is seeded, so the same versions always give the same model.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

HELD_OUT_SHARE = 0.25
SEED = 20240501


@dataclass(frozen=True)
class Images:
    """Images as rows of 64 grey values from 0 to 16, and the digit that each of them shows."""

    pixels: np.ndarray
    labels: np.ndarray


def split() -> tuple[Images, Images]:
    """The images to train on and the held-out ones (450 of 1,797), stratified by digit."""
    digits = load_digits()
    train_pixels, held_out_pixels, train_labels, held_out_labels = train_test_split(
        digits.data, digits.target, test_size=HELD_OUT_SHARE, random_state=SEED, stratify=digits.target
    )
    return Images(train_pixels, train_labels), Images(held_out_pixels, held_out_labels)


def train(images: Images) -> SVC:
    """A support vector classifier fitted to `images`."""
    return SVC(gamma=0.001, random_state=SEED).fit(images.pixels, images.labels)


def accuracy(model: SVC, images: Images) -> float:
    """The share of `images` that the model labels correctly."""
    return float(accuracy_score(images.labels, model.predict(images.pixels)))


def main() -> None:
    """Train, score, print."""
    train_images, held_out = split()
    model = train(train_images)
    print(f"trained on {len(train_images.labels)} images")
    print(f"accuracy on {len(held_out.labels)} held-out images: {accuracy(model, held_out):.4f}")


if __name__ == "__main__":
    main()
