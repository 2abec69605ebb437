"""Derive small, ragged and hidden workloads: find the sizes of a reference, and choose values for them."""
