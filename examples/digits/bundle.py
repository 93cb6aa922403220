"""What is deployed: the trained model, and how to call it, once answering lists and once image by image.

Importing this file trains the model (in a tenth of a second). `model-engine deploy` pickles the functions together
with the model that they use, so a worker only unpickles it.
"""

from collections.abc import Callable, Iterator
from typing import Any

from train import split, train

MODEL = train(split()[0])


def load_model_fn() -> Any:
    """The trained classifier."""
    return MODEL


def load_predict_fn(model: Any) -> Callable[..., Any]:
    """For sync and async endpoints: labels of a list of images, each a row of 64 grey values."""

    def predict(images: list[list[float]]) -> dict[str, list[int]]:
        return {"labels": model.predict(images).tolist()}

    return predict


def load_stream_fn(model: Any) -> Callable[..., Any]:
    """For streaming endpoints: one event per image, sent as soon as that image is labelled."""

    def predict(images: list[list[float]]) -> Iterator[dict[str, int]]:
        for index, image in enumerate(images):
            yield {"index": index, "label": int(model.predict([image])[0])}

    return predict
