"""Recipes: trainings as plain data, the models built from them, and the runs they leave."""

from glf_minimal.recipes.build import MODELS, build_model, builder
from glf_minimal.recipes.catalogue import PAPER_CONV, PAPER_DATA, RECIPES, SYSTEMS, get_recipe
from glf_minimal.recipes.export import export_run
from glf_minimal.recipes.recipe import Recipe
from glf_minimal.recipes.run import load_data, load_run, train_recipe

__all__ = [
    "MODELS",
    "PAPER_CONV",
    "PAPER_DATA",
    "RECIPES",
    "SYSTEMS",
    "Recipe",
    "build_model",
    "builder",
    "export_run",
    "get_recipe",
    "load_data",
    "load_run",
    "train_recipe",
]
