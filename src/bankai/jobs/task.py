"""The probes of one job: what a search may read, and all of them for the audit and the reports."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bankai.probes import Probe, ProbeSet, Split
from bankai.search import SearchProbes
from bankai.search.parts import spread

__all__ = ["Task"]


@dataclass(frozen=True)
class Task:
    """What the search may read, and `whole`: that and what is reported on.

    `unread` are neutral replies on which the drift is reported.
    """

    searched: SearchProbes
    whole: ProbeSet
    unread: tuple[Probe, ...] = ()

    @classmethod
    def of(
        cls,
        targets: Sequence[ProbeSet],
        control: ProbeSet | None = None,
        heldout: ProbeSet | None = None,
        texts: Sequence[str | Probe] = (),
        unread: Sequence[Probe] = (),
    ) -> "Task":
        """Targets and validation of some sets, each a domain; controls of another; held-out and unknown of a third.

        Sets that are not given are the target sets. Raises ProbeFormatError when the splits share an item.
        """
        controls, reports = [control] if control else targets, [heldout] if heldout else targets
        # A probe that several sets share counts once, for the first of them.
        domains: dict[Probe, int] = {}
        for index, probes in enumerate(targets):
            for probe in probes.split("target"):
                domains.setdefault(probe, index)
        searched = SearchProbes(
            targets=tuple(domains),
            controls=_split(controls, "control"),
            validation=_split(targets, "validation"),
            texts=tuple(texts),
            domains=tuple(domains.values()),
        )
        failing = (*_split(reports, "heldout"), *_split(reports, "unknown"))
        reported = (*failing, *_split(controls, "unseen"))
        read = (*searched.targets, *searched.validation, *searched.controls)
        name = "+".join(probes.name for probes in targets)
        return cls(searched, ProbeSet(name, (*read, *reported)), tuple(unread))

    def keeping(self, replies: ProbeSet) -> "Task":
        """The same task with these replies as neutral text, too: its controls for the search, unseen for the report."""
        texts = (*self.searched.texts, *replies.split("control"))
        unread = (*self.unread, *replies.split("unseen"))
        return replace(self, searched=replace(self.searched, texts=texts), unread=unread)

    def drawn(self, targets: int, controls: int, seed: int) -> "Task":
        """The same task with a random part of what the search reads, in equal numbers of every category."""
        searched = self.searched
        some = sorted(spread(searched.targets, seed)[:targets])
        others = spread(searched.controls, seed)[:controls]
        fewer = replace(
            searched,
            targets=tuple(searched.targets[index] for index in some),
            domains=tuple(searched.domains[index] for index in some),
            controls=tuple(searched.controls[index] for index in others),
        )
        return replace(self, searched=fewer)


def _split(sets: Sequence[ProbeSet], split: Split) -> tuple[Probe, ...]:
    """That split of several sets; a probe that two sets share counts once."""
    return tuple(dict.fromkeys(probe for probes in sets for probe in probes.split(split)))
