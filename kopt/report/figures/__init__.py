"""Draw the figures of a run as charts of Altair: values in, charts out, no colours of a page.

The page draws them with Vega in its own colours (`spec`), a notebook as they are.  `progress`, `roofline`,
`families` and `timeline` draw one or two figures each; `chart` holds what they share.
"""
