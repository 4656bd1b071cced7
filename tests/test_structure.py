"""The module's imports: they point one way, in no circle, and not through too many rooms."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "glf_minimal"
WINGS = ("models", "training", "evaluation", "recipes", "reproduction")
METHOD = {"flows", "networks", "losses"}
MOST_LEVELS = 10  # of rooms: a file of the package itself, or a wing as a whole

# What each room may import; "method" is flows, networks, losses. Every room may import the ground.
GROUND = {"", "errors", "files", "folders", "history", "perceptual", "pictures", "provenance"}
MAY_IMPORT = {
    **dict.fromkeys(GROUND | METHOD, GROUND | METHOD),
    "data": GROUND,
    "plotting": GROUND,
    "diagrams": GROUND | {"plotting"},
    "motion": GROUND,
    "models": GROUND | METHOD,
    "training": GROUND | METHOD | {"data", "plotting", "models"},
    "evaluation": GROUND | METHOD | {"data", "plotting", "models"},
    "recipes": GROUND | METHOD | {"data", "plotting", "models", "training", "evaluation"},
}
MAY_IMPORT["reproduction"] = MAY_IMPORT["recipes"] | {"recipes"}
MAY_IMPORT["cli"] = MAY_IMPORT["reproduction"] | {"reproduction"}
MAY_IMPORT["__main__"] = {"cli"}


def name_of(path):
    """Of training/loop.py "training.loop", of a wing's __init__ "training", of the package's ""."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def read_imports(name):
    """The modules of the package that this one imports, anywhere but for type checkers only."""
    found = set()

    def visit(node):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports name the whole path"
            targets = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            targets = []
        for target in targets:
            package, _, rest = target.partition(".")
            if package == "glf_minimal":
                found.add(rest if rest in MODULES else rest.rpartition(".")[0])
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(MODULES[name].read_text()))
    return found


IMPORTS = {name: read_imports(name) for name in MODULES}


def room(name):
    return name.partition(".")[0]


def levels(graph):
    """The length of the longest chain of imports from each node; no chain may be a circle."""
    known = {}

    def level(node, above):
        assert node not in above, f"a circle: {' -> '.join([*above, node])}"
        if node not in known:
            known[node] = 1 + max(
                (level(other, [*above, node]) for other in graph[node]), default=0
            )
        return known[node]

    return {node: level(node, []) for node in graph}


def rooms():
    graph = {room(name): set() for name in MODULES}
    for name, imports in IMPORTS.items():
        graph[room(name)] |= {room(other) for other in imports} - {room(name)}
    return graph


def test_every_import_is_seen():
    """The reading of imports is right where one can say what it has to find."""
    assert "models.base" in IMPORTS["training.loop"]
    assert "recipes.run" in IMPORTS["cli.training"]  # in a function
    assert "reproduction.plan" in IMPORTS["reproduction.tables"]  # a module from its wing
    assert IMPORTS[""] == set()  # for type checkers only


def test_modules_import_each_other_in_no_circle():
    levels(IMPORTS)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_point_one_way(name):
    others = {room(other) for other in IMPORTS[name]} - {room(name)}
    assert others <= MAY_IMPORT[room(name)], others - MAY_IMPORT[room(name)]


@pytest.mark.parametrize("name", [name for name in MODULES if "." in name])
def test_a_module_does_not_import_through_its_own_wing(name):
    assert room(name) not in {other for other in IMPORTS[name] if other in WINGS}


def test_rooms_are_few_levels():
    height = levels(rooms())
    assert max(height.values()) <= MOST_LEVELS, height
