"""Write the text of every request to a language model: pure, versioned templates from frozen values to texts.

`context` holds the values that a prompt may show, `facts` and `guidance` put them into words, and `sections` cuts the
words to a budget and joins them.  One module a request says what is asked and reads the answer: `propose`, `repair`,
`diagnose`, `classify`, `reflect`; `shared_sections` holds what several of them say.

Each section of a template has a budget of tokens, and the template states in which order sections are left out when
the prompt is too long.  What the whole run shares stands first, then what the slots of one parent share, then what is
this slot's own, so that providers can cache prefixes.  Raise a template's version when its words change.

Which model is asked, and what becomes of the reply, is not this package's business.
"""
