"""Kernels of a pool, and pools drawn at random."""

from hypothesis import strategies as st

from kopt.search.strategy import PoolMember


def member(
    slot: int, time_ms: float, fingerprint: str = "", cluster: str = "", round: int = 1,
    techniques: tuple[str, ...] = (), model: str = "m",
) -> PoolMember:  # fmt: skip
    origin = f"r{round}a0s{slot}"
    return PoolMember(
        kernel=f"k{origin}", fingerprint=fingerprint or f"f{origin}", origin=origin, model=model, time_ms=time_ms,
        estimated=True, roofline_share=0.5, techniques=techniques, cluster=cluster or f"k{origin}",
    )  # fmt: skip


def pools(round: int = 1) -> st.SearchStrategy[list[PoolMember]]:
    """Pools in which some kernels are equal, some equally fast and some in one cluster."""
    kernels = st.tuples(st.integers(1, 12), st.sampled_from("abcdefgh"), st.sampled_from(["", "x", "y", "x+y"]))
    return st.lists(kernels, min_size=1, max_size=25).map(
        lambda drawn: [
            member(slot, time / 4, f"f{round}{fingerprint}", cluster, round)
            for slot, (time, fingerprint, cluster) in enumerate(drawn)
        ]
    )
