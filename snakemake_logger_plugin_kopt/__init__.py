"""Tell on the terminal, in lines of kopt's own, how a search ends, why it failed, and what a dry run would run.

A plugin of Snakemake for its option `--logger`; profiles/default turns it on.  Snakemake sends every event of a run:

1. `handler` takes the events, and writes lines while the run goes on and when it ends.
2. `ending` puts what went wrong, and what to do, into one line.
3. `plan` sums up the jobs that would run in ten lines at most.
4. `result` keeps what says the result of a run in which nothing is to be done.
5. `caches` finds a place for Snakemake's caches where the home folder cannot be written.

Snakemake finds `LogHandler` and `LogHandlerSettings` by these names in this module.  What jobs print is not this
package's business: round lines and results reach the terminal by themselves.
"""

from snakemake_logger_plugin_kopt.handler import LogHandler, LogHandlerSettings

__all__ = ["LogHandler", "LogHandlerSettings"]
