"""Faults on purpose: `make stress` kills, starves and disturbs `glf`, and looks for anything that
is lost.
"""
