"""What people read of a run: the report page, the lines on the terminal, the table of trials.

Values in, text or rows out. Reading the run's files, writing the page and asking the clock are the stages'
business; so is every judgement: the report shows what the search found and decides nothing.
"""
