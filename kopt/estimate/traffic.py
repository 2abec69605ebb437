"""Compute the bytes that a launch moves at each level of the memory from a walk through its PTX."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import NamedTuple

import numpy as np

from kopt.estimate.arithmetic import Lanes
from kopt.estimate.flow import UNKNOWN
from kopt.estimate.registers import Sample
from kopt.estimate.walk import Site, Walk
from kopt.model.build import Launch
from kopt.model.device import Device

SECTOR = 32
"""Bytes of a sector, the unit in which L2 and DRAM move data."""
LINE = 128
"""Bytes of a cache line, the unit of the load-store units."""
L2_KEEPS = 0.5
"""Share of the L2 up to which a working set stays in it between two uses; from the whole L2 on nothing stays."""

LEAST_SHARE = 1e-3
"""Least share of the programs that counts as coming to an access."""
MOST_PLACES = 1 << 22
"""Most places whose distinct ones are counted at a time."""


class Traffic(NamedTuple):
    """The bytes that a whole launch moves, and the work of the load-store units."""

    dram_read: float
    """Bytes read from DRAM."""
    dram_write: float
    """Bytes written to DRAM."""
    l2: float
    """Bytes between L2 and the multiprocessors, whole sectors."""
    useful: float
    """Bytes that threads asked for."""
    lsu_cycles: float
    """Load-store cycles of one block."""
    widest: int
    """Widest global load of a thread in a loop (or anywhere when no load is in a loop), bytes."""
    atomics: float
    """Atomic operations of all threads."""


class Access(NamedTuple):
    """One global access of the PTX, counted."""

    site: Site
    runs: float
    """Times that a thread makes the access."""
    total: float
    """Bytes of the sectors that the whole launch touches with it."""
    useful: float
    """Bytes that the threads of the whole launch ask for with it."""
    share: float = 1.0
    """Share of the launch's programs that come to the access."""

    @property
    def passes(self) -> float:
        """Times that a thread of a program that comes to the access makes it."""
        return self.runs / self.share


def traffic(
    walked: Walk, sampled: Sample, launch: Launch, sizes: dict[int, int], device: Device, resident: int
) -> Traffic:
    """Compute the bytes that a launch moves.

    Args:
        walked: the walk through the launch.
        sampled: the threads of the walk.
        launch: the launch.
        sizes: bytes of the tensors behind its pointer parameters, by index, where they are known.
        device: the device.
        resident: blocks that the device holds at once.
    """
    programs = math.prod(launch.grid) * max(launch.num_ctas, 1)
    sites = _without_prologue(walked.sites)
    accesses = [_access(site, walked.counts.get(at, 0.0), sampled, programs) for at, site in sites.items()]
    reads = [a for a in accesses if a.site.kind in _READS]
    writes = [a for a in accesses if a.site.kind in _WRITES]
    write = sum(_capped(a.useful, sizes.get(a.site.parameter)) for a in _merged(writes))
    atomics = sum(a.runs * a.site.active * sampled.threads * programs for a in accesses if a.site.kind == "atomic")
    return Traffic(
        dram_read=_dram_read(reads, sampled, sizes, device, min(resident, programs) / programs),
        dram_write=write,
        l2=_l2_read(reads, sampled) + sum(a.total for a in accesses if a.site.kind not in _READS),
        useful=sum(a.useful for a in accesses),
        lsu_cycles=sum(a.runs * _lsu_cycles(a.site, sampled) for a in accesses) * sampled.threads / 32,
        widest=_widest(reads),
        atomics=atomics,
    )


_READS = ("load_global", "load_global_wide", "cp_async", "tma_load")
_WRITES = ("store_global", "store_global_wide", "tma_store")


def _without_prologue(sites: dict[int, Site]) -> dict[int, Site]:
    """Leave out the copies that fill a pipeline before its loop: in exchange the loop's last passes copy nothing."""
    copies = [site for site in sites.values() if site.kind in ("cp_async", "tma_load")]
    if all(site.loop == UNKNOWN for site in copies):
        return sites
    return {at: s for at, s in sites.items() if s.kind not in ("cp_async", "tma_load") or s.loop != UNKNOWN}


def _l2_read(reads: list[Access], sampled: Sample) -> float:
    """Return the bytes read through L2; those that accesses of a loop share within a warp count once: L1 has them."""
    return sum(
        sum(a.total for a in group) * _l1_misses(group, sampled) for group in _by_tensor_and_loop(reads).values()
    )


def _l1_misses(group: list[Access], sampled: Sample) -> float:
    """Return the distinct sectors of a warp over the sectors that its accesses touch, access by access."""
    touched = [
        np.unique(a.site.addresses[sampled.warp] // SECTOR)
        for a in group
        if a.site.addresses is not None and a.site.kind in ("load_global", "load_global_wide")
    ]
    return len(np.unique(np.concatenate(touched))) / sum(map(len, touched)) if touched else 1.0


def _by_tensor_and_loop(reads: list[Access]) -> dict[tuple[object, ...], list[Access]]:
    groups: dict[tuple[object, ...], list[Access]] = defaultdict(list)
    for access in reads:
        groups[(*_tensor(access.site), access.site.loop)].append(access)
    return groups


def _access(site: Site, count: float, sampled: Sample, programs: int) -> Access:
    share = 1.0 if site.makers is None else max(float(np.mean(site.makers[sampled.grid_programs])), LEAST_SHARE)
    if site.kind.startswith("tma"):
        total = count * programs * site.bytes_per_thread
        return Access(site, count, total, total, share)
    useful = count * programs * sampled.threads * site.active * site.bytes_per_thread
    useful *= _distinct_warps(site, sampled)
    return Access(site, count, useful * overfetch(site, sampled), useful, share)


def _distinct_warps(site: Site, sampled: Sample) -> float:
    """Return the share of a program's warps that touch other addresses than the warps before; L1 answers the rest."""
    if site.addresses is None or site.kind in _WRITES:
        return 1.0
    return float(len(np.unique(site.addresses[sampled.warps])) / (sampled.warps.stop - sampled.warps.start))


def overfetch(site: Site, sampled: Sample) -> float:
    """Return the bytes of the sectors that a warp touches over those it asks for; 1 if coalesced or not known."""
    if site.addresses is None or site.kind.startswith("tma"):
        return 1.0
    addresses = site.addresses[sampled.warp]
    sectors = _touched(addresses, site.bytes_per_thread, SECTOR)
    asked = len(np.unique(addresses)) * site.bytes_per_thread
    ratio = max(sectors * SECTOR / max(asked, 1), 1.0)
    if 0 < site.step < SECTOR and ratio > 1:
        ratio = max(1.0, ratio * site.step / SECTOR)  # the rest of the sector serves the next iterations from L1
    broadcast = asked / (len(addresses) * site.bytes_per_thread)
    return float(ratio * broadcast)


def _touched(addresses: np.ndarray[tuple[int, ...], np.dtype[np.int64]], size: int, unit: int) -> int:
    first, last = addresses // unit, (addresses + size - 1) // unit
    return len(np.unique(np.concatenate([first, last])))


def _lsu_cycles(site: Site, sampled: Sample) -> float:
    if site.kind.startswith("tma"):
        return 0.0
    lines = site.bytes_per_thread * 32 / LINE
    if site.addresses is None:
        return max(lines, 1.0)
    return max(lines, float(_touched(site.addresses[sampled.warp], site.bytes_per_thread, LINE)), 1.0)


def _dram_read(reads: list[Access], sampled: Sample, sizes: dict[int, int], device: Device, wave: float) -> float:
    """Return the bytes read from DRAM; those that blocks of a wave share, or read again while in L2, count once."""
    groups = _by_tensor_and_loop(reads)
    keeps = L2_KEEPS * device.l2_bytes / max(sum(map(_bytes_per_pass, groups.values())) * wave, 1.0)
    shared = {key: sum(a.total for a in group) * distinct_share(group, sampled, keeps) for key, group in groups.items()}
    by_tensor: dict[tuple[object, ...], list[float]] = defaultdict(list)
    for key, amount in shared.items():
        by_tensor[key[:-1]].append(amount)
    kept = _kept(sum(map(max, by_tensor.values())) * wave / device.l2_bytes)
    return sum(_tensor_read(key, amounts, kept, sizes, device) for key, amounts in by_tensor.items())


def _bytes_per_pass(group: list[Access]) -> float:
    """Return the bytes that the accesses of one loop cover in one of its passes, in the whole launch."""
    return sum(a.total / max(a.passes, 1.0) for a in group)


def _kept(share_of_l2: float) -> float:
    """Return the share of a wave's working set that L2 still holds when the set is read again."""
    return min(max((1.0 - share_of_l2) / (1.0 - L2_KEEPS), 0.0), 1.0)


def _tensor(site: Site) -> tuple[object, ...]:
    """Return a key for the tensor that a site accesses: TMA's descriptor, or the pointer parameter."""
    if site.kind == "tma_load":
        source = next((o for o in site.instruction.operands if "{" in o), "")
        return ("tma", source.split(",")[0].strip("[ "))
    return ("pointer", site.parameter)


def _tensor_read(
    key: tuple[object, ...], amounts: list[float], kept: float, sizes: dict[int, int], device: Device
) -> float:
    """Return the bytes of one tensor read from DRAM, from the amounts of the loops that read it."""
    amount = kept * max(amounts) + (1 - kept) * sum(amounts)
    size = sizes.get(int(str(key[1]))) if key[0] == "pointer" else None
    if size is None or size > L2_KEEPS * device.l2_bytes:
        return amount
    return min(amount, float(size))


def distinct_share(group: list[Access], sampled: Sample, passes: float) -> float:
    """Return the distinct bytes over all bytes that a group's accesses cover while L2 holds them.

    Accesses count together that the sampled programs make in as many passes of their loop as fit into L2: overlapping
    tiles, windows and rows of neighbours, and what the next passes read again.

    Args:
        group: the accesses of one loop to one tensor.
        sampled: the threads of the walk.
        passes: passes of the loop whose bytes L2 holds.
    """
    known = [access for access in group if access.site.addresses is not None]
    tma = any(access.site.kind.startswith("tma") for access in known)
    if not known:
        return 1.0
    tiles = [_tile(access.site, sampled) for access in known]
    programs = sampled.programs.stop - sampled.programs.start
    room = max(MOST_PLACES // max(programs * sum(map(len, tiles)), 1), 1)
    unit = 1 if tma else SECTOR
    begins, ends, total = [], [], 0
    for access, tile in zip(known, tiles, strict=True):
        count = int(max(min(access.passes, passes, room), 1)) if access.site.step else 1
        steps = np.arange(count, dtype=np.int64) * access.site.step
        # A tile's places are whole sectors from its first: as sectors, the tile lies alike from every first place.
        first = (_first_places(access.site, sampled)[:, None] + steps[None, :]) // unit
        total += first.size * len(tile)
        runs, first = _runs(tile // unit), np.unique(first)
        begins.append((first[:, None] + runs.begins[None, :]).ravel())
        ends.append((first[:, None] + runs.ends[None, :]).ravel())
    return _length_of_union(np.concatenate(begins), np.concatenate(ends)) / total


def _first_places(site: Site, sampled: Sample) -> Lanes:
    """Return the address of each program of the wave that makes an access; of each at all where none of them does."""
    assert site.addresses is not None
    addresses = site.addresses[sampled.programs]
    makes = None if site.makers is None else site.makers[sampled.programs]
    return addresses[makes] if makes is not None and makes.any() else addresses


class _Runs(NamedTuple):
    """Runs of whole numbers that follow each other without a gap."""

    begins: Lanes
    ends: Lanes
    """One more than the last number of each run."""


def _runs(numbers: Lanes) -> _Runs:
    """Divide distinct numbers, in ascending order, into runs."""
    after = np.flatnonzero(np.diff(numbers) != 1)
    return _Runs(numbers[[0, *(after + 1)]], numbers[[*after, -1]] + 1)


def _length_of_union(begins: Lanes, ends: Lanes) -> int:
    """Return how many whole numbers lie in at least one of some intervals.

    Between two intervals is a gap where as many have ended as have begun, so that begins and ends may be sorted each
    for themselves.
    """
    begins, ends = np.sort(begins), np.sort(ends)
    gaps = np.maximum(begins[1:] - ends[:-1], 0)
    return int(ends[-1] - begins[0] - gaps.sum())


def _tile(site: Site, sampled: Sample) -> Lanes:
    """Return where a program's threads make an access, from the place of its first thread; one place for TMA."""
    assert site.addresses is not None
    if site.kind.startswith("tma"):
        return np.zeros(1, dtype=np.int64)
    lanes, warps = site.addresses[sampled.warp], site.addresses[sampled.warps]
    places = ((lanes - lanes[0])[:, None] + (warps - warps[0])[None, :]).ravel()
    return np.unique(places // SECTOR) * SECTOR


def _capped(amount: float, size: int | None) -> float:
    return amount if size is None else min(amount, float(size))


def _merged(writes: list[Access]) -> list[Access]:
    """Add up the writes to each tensor; a write to an unknown tensor stays alone."""
    merged: dict[int, Access] = {}
    for at, access in enumerate(writes):
        key = access.site.parameter if access.site.parameter != UNKNOWN else -2 - at
        old = merged.get(key)
        merged[key] = access._replace(useful=access.useful + (old.useful if old else 0.0))
    return list(merged.values())


def _widest(reads: list[Access]) -> int:
    inside = [a for a in reads if a.site.loop != UNKNOWN] or reads
    return max((16 if a.site.kind == "tma_load" else a.site.bytes_per_thread for a in inside), default=0)
