"""Folders of images, as `load_data` reads them."""

import io

import numpy as np
from PIL import Image


def picture(seed=0, size=(64, 48)):
    """Smooth colours, as a photograph's."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype="uint8")
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def encoded_as(format_, image, **options):
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def folder_of(path, contents):
    for name, content in contents.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def classes(path, counts, size=lambda number: (16 + number, 12)):
    """PNGs of different sizes, a subfolder for each class."""
    places = [(name, number) for name, count in counts.items() for number in range(count)]
    pictures = {f"{name}/{number}.png": picture(number, size(number)) for name, number in places}
    return folder_of(path, {place: encoded_as("PNG", image) for place, image in pictures.items()})
