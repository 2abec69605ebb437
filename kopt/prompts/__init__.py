"""What is said to a language model: pure, versioned templates from frozen values to texts.

Each template has a budget of tokens by section and a stated order in which sections give way when all of it is too
long.  What does not change within a run stands first, then what the slots of one parent share, then what is this
slot's own, so that providers can cache prefixes.  Raise a template's version when its words change.

Who is asked, and what comes of the reply, is not this package's business.
"""
