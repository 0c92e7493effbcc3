"""Each target for a moment. Where there is no Atheris they are left out with a word."""

from importlib.util import find_spec

import pytest

from tests.reliability.fuzzing.campaign import campaign
from tests.reliability.fuzzing.part import PART
from tests.reliability.fuzzing.seeds import TARGETS, Target
from tests.reliability.part import Trial


@pytest.mark.skipif(
    find_spec("atheris") is None, reason="Atheris is for CPython 3.11 to 3.13 on Linux with x86-64"
)
@pytest.mark.timeout(180)
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
async def test_inputs_that_nobody_thought_of_get_the_right_answer(target: Target, trial: Trial) -> None:
    size = PART.sizes["quick"]
    print(await campaign(target, size.inputs, size.seconds, trial))
