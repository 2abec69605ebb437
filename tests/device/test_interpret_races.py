import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopt.device.interpret.races import DataRace, ObservedLaunch, Races

START, END = 4096, 4096 + 256
OUTPUT = ObservedLaunch(stored={(START, END)})


def addresses(*offsets: int) -> np.ndarray:
    return np.array([START + 4 * offset for offset in offsets], dtype=np.int64)


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
        races.store(program, addresses(5), np.array([1.0 if program else 0.0]), np.array([1.0]))
        races.load(program, addresses(5))


def test_what_several_programs_loaded_belongs_to_none_of_them():
    races = Races(OUTPUT)
    races.load(0, addresses(5))
    races.load(1, addresses(5))
    with pytest.raises(DataRace, match="other programs"):
        races.store(1, addresses(5))


def test_programs_may_load_what_nobody_stores():
    races = Races(OUTPUT)
    for program in range(3):
        races.load(program, np.array([0, 4, 8], dtype=np.int64))


def test_programs_that_store_different_values_to_an_element_race():
    races = Races(OUTPUT)
    races.store(0, addresses(7), np.array([0.0]), np.array([1.0]))
    races.store(1, addresses(7), np.array([1.0]), np.array([1.001]))
    with pytest.raises(DataRace, match="program 2 stores other values to 1 elements stored by program 1"):
        races.store(2, addresses(7), np.array([1.001]), np.array([2.0]))


def test_a_lock_orders_programs():
    races = Races(ObservedLaunch(stored={(START, END)}, atomic={START + 200}))
    lock = np.array([START + 200])
    for program in range(3):
        races.atomic(program, lock, acquires=True, releases=True)
        races.load(program, addresses(0))
        races.store(program, addresses(0))
        races.atomic(program, lock, acquires=False, releases=True)


@pytest.mark.parametrize("acquires", [False, True])
def test_the_last_to_arrive_may_load_what_all_stored_if_it_looks(acquires):
    races = Races(ObservedLaunch(stored={(START, END)}, atomic={START + 200}))
    for program in range(3):
        races.store(program, addresses(program))
        races.atomic(program, np.array([START + 200]), acquires=acquires, releases=True)
    if acquires:
        races.load(2, addresses(0, 1, 2))
    else:
        with pytest.raises(DataRace):
            races.load(2, addresses(0, 1, 2))


def test_an_atomic_before_the_race_orders_nothing():
    races = Races(ObservedLaunch(stored={(START, END)}, atomic={START + 200}))
    races.atomic(0, np.array([START + 200]), acquires=True, releases=True)
    races.store(0, addresses(0))
    races.atomic(1, np.array([START + 200]), acquires=True, releases=True)
    with pytest.raises(DataRace):
        races.load(1, addresses(0))


def test_elements_that_atomics_change_are_not_watched():
    races = Races(ObservedLaunch(stored={(START, END)}, atomic={START}))
    races.store(0, addresses(0))
    races.load(1, addresses(0))


def test_a_volatile_load_orders_after_the_store_that_it_sees():
    races = Races(OUTPUT)
    races.store(0, addresses(1))
    races.store(0, addresses(0))
    races.load(1, addresses(0), volatile=True)
    races.load(1, addresses(1))


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
