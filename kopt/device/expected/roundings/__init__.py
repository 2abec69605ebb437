"""Find what roundings to 16 bits change in a reference's result.

1. `named` leaves out conversions to 16-bit types that the reference names.
2. `between` rounds otherwise what eager rounds on the way.
"""
