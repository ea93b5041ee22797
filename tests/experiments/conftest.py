"""A context on nano as small as an experiment can be given, shared by the tests of this room."""

import pytest

from bankai.experiments.context import NANO, Context
from bankai.jobs.workbench import Workbench


@pytest.fixture(scope="session")
def context() -> Context:
    return Context(Workbench("nano"), NANO, seeds=(0,), quick=True)
