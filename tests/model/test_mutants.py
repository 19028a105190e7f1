"""Every break of `make mutants` still applies to the code."""

import importlib.util
import sys
from typing import Final

from support.tools import ROOT

TOOL: Final = ROOT / "tools" / "mutants.py"


def test_each_break_applies_to_the_code() -> None:
    spec = importlib.util.spec_from_file_location("mutants", TOOL)
    assert spec is not None
    assert spec.loader is not None
    mutants = importlib.util.module_from_spec(spec)
    sys.modules["mutants"] = mutants
    spec.loader.exec_module(mutants)
    for mutant in mutants.MUTANTS:
        assert mutants.broken(mutant, ROOT) != (ROOT / mutant.file).read_text(encoding="utf-8")
