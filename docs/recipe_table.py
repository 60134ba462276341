"""Writes the table of docs/training.md from RECIPES: `python docs/recipe_table.py`."""

import re
from pathlib import Path

from keras_resnet.training import RECIPES, Recipe

PAGE = Path(__file__).parent / "training.md"


def row(name: str, recipe: Recipe) -> str:
    slices = f" of {recipe.steps_per_epoch} steps" if recipe.steps_per_epoch else ""
    schedule = f" at {', '.join(map(str, recipe.drops))}" if recipe.schedule == "steps" else ""
    steps = [*([recipe.view] if recipe.view else []), *recipe.augment]
    decay = f"{recipe.weight_decay:g}{' on kernels' if recipe.decays == 'kernels' else ''}"
    return (
        f"| `{name}` | {recipe.about} | {recipe.epochs}{slices} | {recipe.batch_size} "
        f"| {recipe.lr:g}, {recipe.schedule}{schedule} | {decay} | {', '.join(steps)} |"
    )


if __name__ == "__main__":
    rows = "\n".join(row(name, recipe) for name, recipe in RECIPES.items())
    page = re.sub(r"(?<=\| --- \| --- \| ---: \| ---: \| --- \| --- \| --- \|\n).*?(?=<!-- end -->)", rows + "\n",
                  PAGE.read_text(), flags=re.DOTALL)  # fmt: skip
    PAGE.write_text(page)
