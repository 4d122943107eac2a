import ast
from pathlib import Path

import lesion_transfer

SOURCE = Path(lesion_transfer.__file__).parent


def imported(path: Path) -> set[str]:
    """Names of the top packages that a module imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            called = called or (node.func.id if isinstance(node.func, ast.Name) else "")
            if called in ("import_module", "__import__"):
                names.add(str(node.args[0].value).partition(".")[0])
    return names


def importers(package: str) -> set[str]:
    modules = sorted(SOURCE.rglob("*.py"))
    return {str(path.relative_to(SOURCE)) for path in modules if package in imported(path)}


def test_only_tracking_imports_mlflow():
    found = importers("mlflow")
    assert found
    assert {Path(name).parts[0] for name in found} == {"tracking"}


def test_tensorflow_is_imported_only_where_nothing_else_will_do():
    # Keras has no way to compile a part of a step alone.
    assert importers("tensorflow") == {"training/optimizers.py"}


def test_evaluation_knows_neither_keras_nor_mlflow():
    others = importers("keras") | importers("mlflow")
    assert not [name for name in others if name.startswith("evaluation/")]
