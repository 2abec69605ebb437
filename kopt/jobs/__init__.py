"""Give a job what it needs around its stage: command line, store keys, a GPU, language models.

Stages use these; these know no stage.
"""
