"""The search itself, pure: expand, dedup, diversify, select, stop, and the rules of the embedded diagnosis.

Values in, values out.  It reads no file and no clock, and knows no device; ties are broken explicitly, so that the
same pool gives the same selection whatever order it comes in.
"""
