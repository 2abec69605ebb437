import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopt.device.interpret.races import DataRace, ObservedLaunch, Races

START, END = 4096, 4096 + 256
OUTPUT = ObservedLaunch(stored={(START, END)})


def addresses(*offsets: int) -> np.ndarray:
    return np.array([START + 4 * offset for offset in offsets], dtype=np.uint64)


def test_a_load_of_what_another_program_stored_is_a_race():
    races = Races(OUTPUT)
    races.store(0, addresses(0, 1, 2))
    with pytest.raises(DataRace, match=r"program 1 loads 2 elements stored by program 0"):
        races.load(1, addresses(1, 2, 3))


def test_a_store_to_what_another_program_loaded_is_a_race():
    races = Races(OUTPUT)
    races.load(0, addresses(5))
    with pytest.raises(DataRace, match=r"program 1 stores 1 elements loaded by program 0"):
        races.store(1, addresses(5, 6))


def test_programs_may_all_store_the_same_value_and_load_it():
    races = Races(OUTPUT)
    for program in range(3):
        races.store(program, addresses(5), np.array([program == 0]))
        races.load(program, addresses(5))


def test_what_several_programs_loaded_belongs_to_none_of_them():
    races = Races(OUTPUT)
    races.load(0, addresses(5))
    races.load(1, addresses(5))
    with pytest.raises(DataRace, match="other programs"):
        races.store(1, addresses(5))


def test_programs_may_store_to_the_same_element_and_load_what_nobody_stores():
    races = Races(OUTPUT)
    for program in range(3):
        races.load(program, np.array([0, 4, 8], dtype=np.uint64))
        races.store(program, addresses(7))


def test_a_launch_whose_programs_may_wait_for_each_other_is_not_watched():
    races = Races(ObservedLaunch(stored={(START, END)}, synchronised=True))
    races.store(0, addresses(0))
    races.load(1, addresses(0))


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 3), st.lists(st.integers(0, 15), min_size=1, max_size=4)), max_size=30
    )
)
def test_programs_that_keep_to_their_own_elements_never_race(accesses):
    races = Races(OUTPUT)
    for is_load, program, offsets in accesses:
        own = addresses(*[16 * program + offset for offset in offsets])
        (races.load if is_load else races.store)(program, own)


@given(st.permutations([("load", 0), ("store", 1), ("load", 2)]))
def test_a_race_is_found_in_whatever_order_the_programs_run(order):
    races, calls = Races(OUTPUT), iter(order)

    def run_all():
        for what, program in calls:
            getattr(races, what)(program, addresses(3))

    with pytest.raises(DataRace):
        run_all()
