"""The embedded photographs: what keeps training windows apart from test windows."""

import numpy as np

from repro.data.prepare import photos
from repro.data.prepare.sources import SourceSplit


def test_photos_train_and_test_windows_share_no_pixel_and_keep_a_gap() -> None:
    source = photos.photos()
    assert len(source.classes) >= 8
    assert np.bincount(source.train.labels).tolist() == [photos.PHOTO_TRAIN] * len(source.classes)
    assert np.bincount(source.test.labels).tolist() == [photos.PHOTO_TEST] * len(source.classes)

    for label, whole in enumerate(photos.photographs()):
        axis = 0 if whole.shape[0] >= whole.shape[1] else 1

        def pixels(split: SourceSplit, label: int = label, axis: int = axis) -> set[int]:
            places = [
                name.split(" at ")[1].split(",")[axis]
                for name, of in zip(split.names, split.labels, strict=True)
                if of == label
            ]
            return {int(place) + step for place in places for step in range(photos.WINDOW)}

        train, test = pixels(source.train), pixels(source.test)
        assert not {place + step for place in test for step in range(-photos.GAP, photos.GAP + 1)} & train
        assert len(train) > 150 and len(test) > 120
    assert all(source.test.read(number).shape == (64, 64, 3) for number in (0, 639))
    assert photos.photos().train.names == source.train.names
