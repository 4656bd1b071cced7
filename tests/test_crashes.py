"""A few of the faults of `make stress`, which has several hundred: nothing is lost."""

import random
import sys

import pytest
from stress import disks, outputs, reproducing, trainings
from stress.workshop import Workshop

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the faults are made with what Linux has"
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return Workshop(tmp_path_factory.mktemp("stress"))


@pytest.fixture
def rng():
    return random.Random(0)


@pytest.mark.parametrize(("name", "kind"), [("glf", "kill"), ("aae", "kill"), ("flowae", "tear")])
def test_a_training_killed_several_times_in_a_row(shop, rng, name, kind):
    assert trainings.several_in_a_row(shop, rng, name, kind, kills=2)


def test_records_of_a_killed_reproduction(shop):
    assert reproducing.killed_while_recording(shop, steps=slice(7, 8))


def test_an_output_of_a_killed_command(shop, rng):
    assert outputs.killed(shop, rng, "sample", replaces=True, tears=1, every=3)


def test_a_full_disk(shop, rng):
    assert disks.full(shop, rng, "glf", times=2)


def test_a_folder_that_becomes_read_only(shop):
    assert disks.read_only(shop, "glf", steps=slice(5, None, 16))


def test_a_folder_that_is_moved_away(shop):
    assert disks.moved_away(shop, "flowae", steps=slice(7, None, 22))


def test_two_trainings_in_one_folder(shop, rng):
    assert disks.two_at_once(shop, rng, "glf")
