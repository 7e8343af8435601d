"""When a setting was looked at: how many seeds were asked for or announced, in order, and what that does to a verdict.

Who asks for more seeds after a verdict has looked twice (interim analyses of a group-sequential test), and the interval
has to be wide enough for both. A look that was taken stays on record, so that no later question makes it forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence


def after(looks: Sequence[int], seeds: int, most: int | None = None, *, seen: int, judged: bool) -> tuple[int, ...]:
    """The looks once `seeds` are asked for on top of `looks`; the last one is the number of seeds from then on.

    `most` is announced beforehand: seeds are added one by one, at most so many, with a look after each. `seen` is how
    many seeds have a finished run, up to the last of those; `judged`: an arm has enough of them for a verdict.
    More seeds that were asked for by mistake are taken back until a run beyond those before is finished. Fewer replace
    more only where no run beyond them is finished.
    """
    kept = list(looks)
    if len(kept) > 1 and kept[-2] < kept[-1] and seen <= kept[-2]:
        del kept[-1]  # nobody could look at it: a verdict waits for all seeds
    last = kept[-1] if kept else 0
    asked = last if seeds < last and seen > seeds else seeds
    if kept and (not judged or asked == last):
        del kept[-1]  # nobody saw a verdict, or it is the same look again
    if most is not None and max(most, asked) > max(kept, default=asked):
        kept.append(max(most, asked))
    if not kept or kept[-1] != asked:
        kept.append(asked)
    return tuple(kept)


def most_looked_at(looks: Sequence[int]) -> int | None:
    """The largest number of seeds with a look, where there is more than one; intervals are widened for that many."""
    return max(looks) if len(set(looks)) > 1 else None
