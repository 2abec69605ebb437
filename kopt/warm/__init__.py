"""Keep warm parents, from which jobs of a search are forked, so that a job need not import what it needs.

1. `place` names the sockets of a parent by all that a process inherits, in a folder that only this user may enter.
2. `connect` finds the parent, and starts one where none listens; `ends` ends it.
3. `client` runs in a job's own process: it hands the job over, passes signals on, and ends as the job ends.  Whatever
   is odd before the job has begun means that the job runs in its own process.
4. `parent` imports, listens and forks: the light parent everything but torch, the heavy one torch and Triton too.
5. `keeper` watches one job for its client, `takeover` turns the fork into the job.

The client imports the standard library alone.  What a job does is the business of `workflow/start.py`.
"""
