"""What is varied, in two lines for a student: by the first words of an experiment's factor."""

from __future__ import annotations

EXPLAINED = {
    "model.activation": (
        "An activation is what each unit makes of its weighted sum. The ReLU is max(0, x); tanh(x) flattens out on "
        "both sides, and its gradient dies there (section 3.1)."
    ),
    "model.norm": (
        "Local response normalization divides each value by what its neighbors in n maps have at the same position: "
        "b = a / (k + alpha * sum of a^2) ^ beta, with n = 5, k = 2, alpha = 0.0001, beta = 0.75 (section 3.3)."
    ),
    "model.towers": (
        "The net of 2012 was cut into two towers, one a GPU: in most layers a kernel reads the maps of its own tower "
        "only, so that little crosses between the GPUs (section 3.2)."
    ),
    "model.pool": (
        "Pooling takes the maximum of each window of z x z values, every s positions. With z = 3 and s = 2 windows "
        "overlap; with z = 2 and s = 2 they do not (section 3.4)."
    ),
    "model.dropout": (
        "Dropout sets each unit of a layer to 0 with probability 1/2 at each training step, and halves the outputs in "
        "a test: y = m * x in training, y = x / 2 in a test, m drawn from 0 and 1 (section 4.2)."
    ),
    "augment": (
        "Augmentation trains on random crops and mirror images, and shifts the colors of an image by a "
        "[p1, p2, p3] [a1 l1, a2 l2, a3 l3]: p and l are the principal components of the pixels, a is drawn from "
        "N(0, 0.1) (section 4.1)."
    ),
    "the views of a test image": (
        "A view is a crop of a test image. Ten views are its four corners and its center, and the mirror images of "
        "these; their softmax outputs are averaged (section 4.1)."
    ),
    "the nets that are averaged": (
        "An ensemble averages the softmax outputs of several nets, and its answer is the largest mean (section 6)."
    ),
    "optim.weight_decay": (
        "Weight decay pulls each weight towards 0: v <- 0.9 v - 0.0005 e w - e dL/dw, w <- w + v (section 5)."
    ),
}


def explained(factor: str) -> str:
    """The two lines of a factor; nothing where there are none."""
    return next((text for begins, text in EXPLAINED.items() if factor.startswith(begins)), "")
