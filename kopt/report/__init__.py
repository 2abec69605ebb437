"""Present a run to people: the report page, the lines on the terminal, the table of trials.

1. `trials` joins the tables of a run's rounds into one row per slot and attempt; `costs` adds up what replies cost.
2. `record` names everything that the page shows, `details` what it shows of one kernel, `chosen` which kernels and rows
   there is room for; `tables`, `rows`, `lineage` and `marked` work out its parts, `outcomes` what came of candidates,
   `sentences` and `words` what it says and explains in words.
3. `figures` draws charts and writes them for the page; `render` fills the templates.
   `terminal` and `finals` write the lines on the terminal; `numbers` writes numbers.
4. `status` names what a person is told of a run that may still go on, and `status_lines` writes it.

Values in, text or rows out.  Reading a run's files is the business of `kopt.run`, writing files that of `kopt.exports`;
judgements are made elsewhere: the report shows what the search found and decides nothing.
"""
