"""Read a run from its files as one value.

1. `tables` names the tables of one round.
2. `value` is the whole run: its problem, device and settings, its rounds, and what follows from them (trials, best).
3. `read` puts a run together from explicit paths, as rule finish declares them; `load` from a finished run's folder
   alone, whose layout it knows.
4. `started` records how a run was started, `layout` names its steps and their files, `so_far` reads what there is of a
   run that may still go on, and `status` says how far it is.
5. `final` and `model_summary` work out what a report shows: figures of the best kernel; what language models said.

Owns no judgement and no text for people: `kopt.search` decides, `kopt.report` and `kopt.exports` show.
"""
